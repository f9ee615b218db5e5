"""Generates docs/reference/checkpoints.md: `python -m parity_tests.support.checkpoints_table`."""

from collections import Counter
from pathlib import Path

from parity_tests.support.twins_table import twin_pairs
from se_weights.catalogue.published import PublishedFile, all_files
from se_weights.catalogue.unread import UnreadFile, unread_files

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checkpoints.md"

HEAD = """# Published checkpoints

Every file of these families that a code base publishes, whether it is read, and how the code base prepares its images.
Generated from `se_weights/catalogue/*.tsv` by `python -m parity_tests.support.checkpoints_table`;
`python -m parity_tests.peers.update_published` writes these tables from the installed code bases, and a test compares
them. Hosts were not contacted: addresses and hashes are those in the code bases.

{read} files of {sources} code bases are read, {unread} are not. {pairs} pairs of published networks have the same
tensors and compute different functions ([`identify` distinguishes them](twins.md)); [Which file do I
have?](../guide/which_file.md) says how a file is recognised.

"size" is the side of the input, "crop" the share of the resized image that it is, and "top-1" the published accuracy
in percent.
"""

COLUMNS = ("file", "architecture", "dialect", "size, filter, crop", "top-1", "licence")


def page() -> str:
    rows = [row for row in all_files() if row.tag or row.url]
    unread = list(unread_files())
    parts = [
        HEAD.format(
            read=len(rows), unread=len(unread), sources=len({row.source for row in rows}), pairs=len(twin_pairs())
        )
    ]
    for source in dict.fromkeys(sorted(row.source for row in rows)):
        of_source = sorted((row for row in rows if row.source == source), key=lambda row: (row.name, row.tag))
        parts.append(f"\n## {source}\n\n" + _table(COLUMNS, map(_cells, of_source)))
    parts.append("\n## Not read\n\n" + _table(("file", "why"), map(_unread_cells, unread)))
    return "".join(parts)


def _cells(row: PublishedFile) -> tuple[str, ...]:
    name = f"{row.name}.{row.tag}" if row.tag else row.name
    address = f"https://huggingface.co/{row.repository.partition('@')[0]}" if row.repository else row.url
    images = row.preprocessing
    return (
        f"[{name}]({address})" if address else name,
        row.architecture.name,
        row.dialect,
        f"{images.size} {images.interpolation} {images.crop:g}" if images else "",
        row.accuracy,
        row.licence,
    )


def _unread_cells(row: UnreadFile) -> tuple[str, ...]:
    return f"{row.source} {row.name}" + (f".{row.tag}" if row.tag else ""), row.reason


def _table(columns: tuple[str, ...], rows) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    counts = Counter(row.source for row in all_files())
    PAGE.write_text(page())
    print(f"{PAGE.name}: {dict(counts)}")
