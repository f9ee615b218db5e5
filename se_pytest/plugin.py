"""A pytest plugin for regression tests of a team's own checkpoints, in the team's own repository.

    def test_our_model(parity):
        parity.check("ours.pth")

Loading it imports neither a framework nor numpy; `check` runs each framework in a separate process.
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

CASE_OPTIONS = ("batch", "size", "dialect", "architecture", "prefix")
"""Options of `check` that choose the weights and the images."""

GOLDENS = "goldens"
"""The folder of golden files, next to the test file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of PyTorch, Keras and Flax (se-resnet)")
    group.addoption(
        "--parity-update", action="store_true", help="write the golden files instead of comparing with them"
    )
    group.addoption("--parity-json", type=Path, metavar="PATH", help="write the reports of all checks to a JSON file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "parity(frameworks=, modes=, dtypes=, batch=, size=, device=, dialect=, explain=, train=): "
        "default options of parity.check in this test; see se_pytest.plugin.Parity.check",
    )
    config.stash[REPORTS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--parity-json")
    if path:
        path.write_text(json.dumps({"schema": 1, "reports": session.config.stash[REPORTS]}, indent=1) + "\n")


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> "Parity":
    """Checks checkpoints for parity between frameworks, and against golden files of earlier runs."""
    marker = request.node.get_closest_marker("parity")
    return Parity(request, marker.kwargs if marker else {})


@dataclass
class Parity:
    """The value of the `parity` fixture.

    Attributes:
        request: of the test.
        options: the arguments of its `parity` marker.
        calls: how often `check` was called, since each call has its own golden file.
    """

    request: pytest.FixtureRequest
    options: dict[str, Any]
    calls: int = field(default=0)

    def check(self, subject: str | Path, **options: Any) -> "Examination":
        """Fail the test unless every framework gives the reference's logits, and those of its golden file if any.

        With `--parity-update` the golden file is written instead.

        Args:
            subject: a weights file, relative to the test file's folder, or the name of an architecture.
            **options: override those of the `parity` marker. `frameworks`, `modes` and `dtypes` are lists (by default
                the installed frameworks, all modes and all dtypes); `batch` is the number of images and `size` their
                (height, width); `device` is "cpu" or "gpu"; `dialect`, `architecture` and `prefix` are those of the
                file; `pythons` are interpreters by framework; `train` also checks ten steps of SGD and AdamW;
                `explain` diagnoses a failure (the default).

        Returns:
            The examination, which passed.
        """
        from se_parity.examination import RECIPES, ExaminationOptions, examine
        from se_parity.inputs.open_case import open_case
        from se_parity.judge.golden import golden_contents
        from se_parity.judge.matrix import installed_frameworks
        from se_weights.writing.atomic_write import atomic_write

        options = {"frameworks": installed_frameworks(), "explain": True, "train": False, **self.options, **options}
        case_options = {key: options.pop(key) for key in CASE_OPTIONS if key in options}
        golden = self._golden_path()
        update = self.request.config.getoption("--parity-update")
        examination_options = ExaminationOptions(
            recipes=RECIPES if options.pop("train") else (),
            golden=golden if golden.exists() and not update else None,
        )
        explain = options.pop("explain")
        case = open_case(self._resolve(subject), **case_options)
        examination = examine([case], examination_options, **options)
        if not examination.passed and explain:
            examination = examine([case], replace(examination_options, localise=True, explain=True), **options)
        self._report(examination)
        if update and examination.passed:
            golden.parent.mkdir(exist_ok=True)
            with atomic_write(golden, replace=True) as temporary:
                temporary.write_text(json.dumps(golden_contents(examination.report)) + "\n")
        if not examination.passed:
            pytest.fail("\n".join(_failures(examination)), pytrace=False)
        return examination

    def _resolve(self, subject: str | Path) -> str:
        path = self.request.path.parent / subject
        return str(path) if path.exists() else str(subject)

    def _golden_path(self) -> Path:
        self.calls += 1
        name = re.sub(r"[^\w.-]+", "-", f"{self.request.path.stem}-{self.request.node.name}-{self.calls}")
        return self.request.path.parent / GOLDENS / f"{name}.json"

    def _report(self, examination: "Examination") -> None:
        """Add the results to the JSON report, and to the test's properties in JUnit XML."""
        self.request.config.stash[REPORTS].append({"test": self.request.node.nodeid, **examination.to_dict()})
        for run in examination.report.runs:
            self.request.node.user_properties.append((run.name, f"{run.difference.share:.3e} of {run.limit:.3e}"))


def _failures(examination: "Examination") -> Iterator[str]:
    for run in examination.report.runs:
        if not run.passed:
            flipped = f"; {run.labels.flipped:.0%} of the labels changed" if run.labels.flipped else ""
            nonfinite = "" if run.difference.same_nonfinite else "; NaN or infinity in other places than the reference"
            yield (
                f"{run.name}: differs from the float64 reference by {run.difference.share:.1e} of the logits' range; "
                f"limit {run.limit:.1e}{flipped}{nonfinite}"
            )
    for change in examination.golden_comparison.changes if examination.golden_comparison else ():
        if not change.passed:
            upgrades = "; ".join(f"{key} {old} to {new}" for key, (old, new) in change.environment.items())
            yield (
                f"{change.run}: differs by {change.difference.share:.1e} of the logits' range from its golden, "
                f"after {upgrades or 'no change of versions'}; limit {change.limit:.1e}"
            )
    for name in examination.golden_comparison.only_golden if examination.golden_comparison else ():
        yield f"{name}: in the golden file, but not run now"
    yield from examination.sentences
