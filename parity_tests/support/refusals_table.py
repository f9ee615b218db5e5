"""Generates docs/refusals.md from se_weights.refusals: `python -m parity_tests.support.refusals_table`."""

from pathlib import Path

from se_cli.statuses import STATUSES
from se_weights.refusals import REFUSALS

PAGE = Path(__file__).parents[2] / "docs" / "refusals.md"

HEAD = """# Why a file is refused

Every refusal has an id that stays the same from release to release: `se-resnet ... --json` has it as `error.id`, its
message ends with it, and in Python it is `error.id`. Written by `python -m parity_tests.support.refusals_table` from
`se_weights/refusals.py`; [hostile_files.md](hostile_files.md) has the files that each was tried on.

| id | status | what it means | what to do |
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
