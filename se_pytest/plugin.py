"""A pytest plugin: regression tests of a team's own checkpoints, in the team's own repository.

    def test_our_model(parity):
        parity.check("ours.pth")

Loading it imports neither a framework nor numpy; `check` starts the frameworks in processes of their own.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from se_parity.examination import Examination

REPORTS = pytest.StashKey[list[dict[str, Any]]]()

GOLDENS = "goldens"
"""The folder beside a test file that keeps its goldens."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of PyTorch, Keras and Flax (se-resnet)")
    group.addoption(
        "--parity-update", action="store_true", help="write the goldens anew instead of comparing with them"
    )
    group.addoption("--parity-json", type=Path, metavar="PATH", help="write every report as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "parity(frameworks=, modes=, dtypes=, batch=, size=, device=, dialect=, explain=, train=): "
        "what parity.check does in this test, where the call itself does not say",
    )
    config.stash[REPORTS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--parity-json")
    if path:
        path.write_text(json.dumps({"schema": 1, "reports": session.config.stash[REPORTS]}, indent=1) + "\n")


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> "Parity":
    """Checks checkpoints for parity, and against what they gave before."""
    marker = request.node.get_closest_marker("parity")
    return Parity(request, marker.kwargs if marker else {})


@dataclass
class Parity:
    """What the fixture gives. `checked` counts the calls, so that each has a golden of its own."""

    request: pytest.FixtureRequest
    options: dict[str, Any]
    checked: int = field(default=0)

    def check(self, subject: str | Path, **options: Any) -> "Examination":
        """Fail unless a weights file, or an architecture by name, gives the oracle's logits in every framework, and
        what the golden kept of it where there is one.

        A relative path begins at the test file's folder. The options are those of the command, and stand before the
        marker's: frameworks, modes, dtypes (lists), batch, size (a pair), device, dialect, pythons, train, explain.
        """
        from se_parity.examination import RECIPES, ExaminationOptions, examine
        from se_parity.inputs.open_case import open_case
        from se_parity.judge.golden import golden_facts
        from se_parity.judge.matrix import installed_frameworks
        from se_weights.writing.atomic_write import atomic_write

        chosen = {"frameworks": installed_frameworks(), "explain": True, "train": False, **self.options, **options}
        about = {key: chosen.pop(key) for key in ("batch", "size", "dialect") if key in chosen}
        golden = self._golden()
        update = self.request.config.getoption("--parity-update")
        examination_options = ExaminationOptions(
            recipes=RECIPES if chosen.pop("train") else (),
            against=golden if golden.exists() and not update else None,
        )
        explained = chosen.pop("explain")
        case = open_case(self._subject(subject), **about)
        examined = examine([case], examination_options, **chosen)
        if not examined.passed and explained:
            explained_options = replace(examination_options, localise=True, explain=True)
            examined = examine([case], explained_options, **chosen)
        self._keep(examined, case.name)
        if update and examined.passed:
            golden.parent.mkdir(exist_ok=True)
            with atomic_write(golden, replace=True) as temporary:
                temporary.write_text(json.dumps(golden_facts(examined.report)) + "\n")
        if not examined.passed:
            pytest.fail("\n".join(_failures(examined)), pytrace=False)
        return examined

    def _subject(self, subject: str | Path) -> str:
        beside = self.request.path.parent / subject
        return str(beside) if beside.exists() else str(subject)

    def _golden(self) -> Path:
        self.checked += 1
        name = re.sub(r"[^\w.-]+", "-", f"{self.request.path.stem}-{self.request.node.name}-{self.checked}")
        return self.request.path.parent / GOLDENS / f"{name}.json"

    def _keep(self, examined: "Examination", case: str) -> None:
        """For JSON, and as properties of the test in JUnit's XML."""
        self.request.config.stash[REPORTS].append({"test": self.request.node.nodeid, **examined.to_dict()})
        for run in examined.report.runs:
            self.request.node.user_properties.append(
                (f"{run.mode}, {run.dtype}, {case}", f"{run.difference.share:.3e} of {run.limit:.3e}")
            )


def _failures(examined: "Examination") -> Iterator[str]:
    for run in examined.report.runs:
        if not run.passed:
            turned = f", {run.labels.flipped:.0%} of labels turned" if run.labels.flipped else ""
            odd = "" if run.difference.same_nonfinite else ", NaN or infinity where the oracle has none or elsewhere"
            yield (
                f"{run.mode}, {run.dtype}, {run.case}: {run.difference.share:.1e} of the range from the truth; "
                f"the limit is {run.limit:.1e}{turned}{odd}"
            )
    for moved in examined.comparison.moved if examined.comparison else ():
        if not moved.passed:
            changes = "; ".join(f"{key} {old} to {new}" for key, (old, new) in moved.environment.items())
            share = f"{moved.difference.share:.1e} of the range from its golden"
            yield f"{moved.run}: {share}, after {changes or 'no change of the environment'}"
    for name in examined.comparison.only_golden if examined.comparison else ():
        yield f"{name}: in the golden, and not run now"
    yield from examined.sentences
