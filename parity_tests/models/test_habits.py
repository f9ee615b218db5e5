"""docs/reference/habits.md: what users of each framework do with a model names the tests that hold it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = (ROOT / "docs" / "reference" / "habits.md").read_text().split("\n## ")[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_every_test_that_the_table_of_habits_names_exists(section):
    tests = {name for file in ROOT.glob("parity_tests/*/test_*.py") for name in defined(file)}
    rows = [line.split(" | ")[-1] for line in section.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert sum(map(bool, named)) >= 20
    assert not {name for names in named for name in names} - tests


def defined(file: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
