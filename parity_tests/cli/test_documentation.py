"""Tables, links, pictures and help are those of the program; `make docs` runs the examples and builds the site."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import se_hub
import se_spec
from parity_tests.support import architectures_table, checkpoints_table, refusals_table
from parity_tests.support.twins_table import differing, twins_of_networks
from se_cli.main import main
from se_cli.subcommands import SUBCOMMANDS
from se_parity.report.palette import DARK, LIGHT
from se_weights.dialects import DIALECTS
from se_weights.files import FORMATS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
GENERATED = [architectures_table, checkpoints_table, refusals_table]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 140


def test_every_make_command_in_the_docs_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test", "docs"} <= named <= targets


def test_the_table_of_formats_matches_the_program():
    lines = (DOCS / "guide" / "convert.md").read_text().splitlines()
    for known in FORMATS:
        row = next(line for line in lines if line.startswith(f"| `{known.suffixes[0]}`"))
        assert row.rstrip(" |").rpartition("| ")[2].split(", ") == list(known.frameworks)
        assert all(f"`{suffix}`" in row for suffix in known.suffixes)


def test_the_table_of_twins_has_every_pair():
    """The errors in it are those of a run; `make sweep` tests that each pair is distinguished."""
    lines = (DOCS / "reference" / "twins.md").read_text().splitlines()
    expected = [differing(row, twin) for row, twins in twins_of_networks() for twin in twins]
    assert [line.rsplit("|", 3)[0] + "|" for line in lines if line.count("|") == 6][2:] == expected


def test_the_table_of_dialects_matches_the_program():
    table = (DOCS / "guide" / "which_file.md").read_text().partition("| dialect |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert rows == list(DIALECTS)


def test_the_counts_in_the_readme_are_those_of_the_program():
    read, unread = re.search(r"(\d+) files of 12 code bases are read, (\d+) are not", checkpoints_table.page()).groups()
    assert f"{len(se_spec.list_architectures())} by name" in README
    assert f"{len(DIALECTS)} dialects" in README
    assert f"{read} of 12 code bases are read, {unread} are not" in README
    assert f"{len(list(se_hub.pretrained_files('*')))} are fetched by name" in README


@pytest.mark.parametrize("table", GENERATED, ids=lambda table: table.__name__.rpartition(".")[2])
def test_a_generated_page_is_up_to_date(table):
    assert table.PAGE.read_text() == table.page(), f"run python -m {table.__name__}"


def test_the_drawings_are_up_to_date(tmp_path):
    (tmp_path / "draw.py").write_bytes((DOCS / "pictures" / "draw.py").read_bytes())
    subprocess.run([sys.executable, tmp_path / "draw.py"], check=True)
    drawings = sorted(DOCS.glob("pictures/*.svg"))
    assert [path.name for path in drawings] == sorted(path.name for path in tmp_path.glob("*.svg"))
    assert all(path.read_text() == (tmp_path / path.name).read_text() for path in drawings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for path, heading in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if heading:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, heading


def test_every_page_is_in_the_site():
    listed = set(re.findall(r"^[\w/]+$", (DOCS / "index.md").read_text() + _api_index(), re.MULTILINE))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]}
    assert pages - listed == {"index"}


def _api_index() -> str:
    lines = (DOCS / "reference" / "api" / "index.md").read_text().splitlines()
    return "\n".join(f"reference/api/{line}" for line in lines if re.fullmatch(r"se_\w+", line))


@pytest.mark.parametrize("notebook", sorted(DOCS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)


def test_the_program_has_the_commands_of_the_design():
    first = {"list", "inspect", "identify", "convert", "compare", "verify", "parity", "demo"}
    assert set(SUBCOMMANDS) == first | {"download", "predict"}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_help_has_two_examples_that_parse_and_a_page(name, monkeypatch):
    monkeypatch.setattr(se_hub, "fetch", Path)
    command = main.get_command(click.Context(main), name)
    subcommand = SUBCOMMANDS[name]
    assert (ROOT / subcommand.page).exists()
    help_text = command.get_help(click.Context(command, info_name=name))
    assert help_text.count(f"  se-resnet {name}") == len(subcommand.examples) == 2
    assert f"Documentation: {subcommand.page}" in help_text
    for example in subcommand.examples:
        called, *arguments = shlex.split(example)
        assert called == name
        command.make_context(name, arguments)


@pytest.mark.parametrize(("line", "completed"), [("se-resnet con", "convert"), ("se-resnet inspect --gr", "--graph")])
def test_the_shell_completes_commands_and_options(line, completed):
    variables = {"_SE_RESNET_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    program = Path(sys.executable).with_name("se-resnet")
    ran = subprocess.run([program], env=variables, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == [f"plain,{completed}"]


def _luminance(color: str) -> float:
    """The relative luminance of WCAG 2.2 of a color as #rrggbb."""
    parts = [int(color[begin : begin + 2], 16) / 255 for begin in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(first: str, second: str) -> float:
    brighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_background(palette):
    for background in ("background", "surface", "good", "near", "bad"):
        assert _contrast(palette["text"], palette[background]) >= 4.5
    for text in ("quiet", "accent", "passed", "failed", "torch", "tf", "flax"):
        assert _contrast(palette[text], palette["background"]) >= 4.5, text
    assert LIGHT.keys() == DARK.keys()
    assert len(set(palette.values())) == len(palette)
