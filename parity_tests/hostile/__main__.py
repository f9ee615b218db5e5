"""Runs every case and writes what became of it: `python -m parity_tests.hostile` writes docs/hostile_files.md."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from parity_tests.hostile import CASES, FAMILIES, Case, Good
from parity_tests.hostile.run import MEGABYTES, SECONDS, Outcome, run

AT_ONCE = 2
TABLE = Path(__file__).parents[2] / "docs" / "hostile_files.md"


def expectation(status: int | None, reason: str | None) -> str:
    return f"{status} `{reason}`" if reason else str(status)


def row(case: Case, found: Outcome) -> str:
    if found.skipped:
        return f"| {case.number} | {case.title} | {expectation(case.status, case.id)} | {found.skipped} | | |"
    became = expectation(found.status, found.id)
    fault = " **" + ", ".join(sorted(found.marks)) + "**" if found.marks else ""
    expected = expectation(case.status, case.id)
    return (
        f"| {case.number} | {case.title} | {expected} | {became}{fault} | {found.seconds:.2f} | {found.megabytes:.0f} |"
    )


def summary(outcomes: dict[str, Outcome]) -> str:
    ran = [(case, outcomes[case.number]) for case in CASES if not outcomes[case.number].skipped]
    whole = [(case, found) for case, found in ran if not found.faults]
    accepted = sum(case.status == 0 for case, _ in ran)
    marked = {mark: sum(mark in found.marks for _, found in ran) for mark in ("traceback", "hang", "leftover")}
    slowest, largest = (max(getattr(found, fact) for _, found in ran) for fact in ("seconds", "megabytes"))
    return (
        f"{len(ran)} tried; {sum(case.status != 0 for case, _ in whole)} of {len(ran) - accepted} refused as they must "
        f"be, {sum(case.status == 0 for case, _ in whole)} of {accepted} accepted as they must be; "
        f"tracebacks {marked['traceback']}, hangs {marked['hang']}, leftovers {marked['leftover']}; "
        f"the slowest took {slowest:.1f} s (allowed: {SECONDS}), the largest {largest:.0f} MB (allowed: {MEGABYTES})."
    )


def lines(outcomes: dict[str, Outcome]) -> Iterator[str]:
    yield from (
        "# Files of strangers",
        "",
        "Each case is a file made for it, converted by `se-resnet convert` in a process of its own: what must become",
        "of it, what became of it (exit status and error id), how long it took and how much memory. Written by",
        "`python -m parity_tests.hostile`; `parity_tests/hostile/test_hostile.py` holds it.",
    )
    for title, family in FAMILIES.items():
        yield from ("", f"## {title}", "", "| | case | must be | was | s | MB |", "|---|---|---|---|---|---|")
        yield from (row(case, outcomes[case.number]) for case in family.CASES)
    yield from ("", summary(outcomes))


def main() -> int:
    with TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        good = Good(Path(folder, "good"))
        good.folder.mkdir()
        futures = {case.number: pool.submit(run, case, Path(folder, case.number), good) for case in CASES}
        outcomes = {number: future.result() for number, future in futures.items()}
    for number, found in outcomes.items():
        for fault in found.faults:
            print(f"{number}: {fault}", file=sys.stderr)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join(lines(outcomes)) + "\n")
    print(summary(outcomes))
    return any(found.faults for found in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
