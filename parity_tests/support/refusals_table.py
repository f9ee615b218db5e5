"""Generates docs/reference/refusals.md from se_weights.refusals: `python -m parity_tests.support.refusals_table`."""

from pathlib import Path

from se_cli.statuses import STATUSES
from se_weights.refusals import REFUSALS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "refusals.md"

HEAD = """# Why a file is refused

Every refusal has an id that does not change between releases. In Python it is `error.id`; on the command line it is at
the end of the message, and `error.id` in the output of `--json`. This page is generated from `se_weights/refusals.py`
by `python -m parity_tests.support.refusals_table`; [hostile_files.md](../about/hostile_files.md) lists the test files.

| id | exit status | what was found | what to do |
|---|---|---|---|
"""


def page() -> str:
    rows = [
        f"| `{reason}` | {STATUSES[refusal.kind]} | {refusal.means} | {refusal.advice} |\n"
        for reason, refusal in REFUSALS.items()
    ]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
