"""A pytest plugin for regression tests of a team's own checkpoints, in the team's own repository.

    def test_our_model(parity):
        parity.check("ours.pth")

Loading it imports neither a framework nor numpy; `check` runs each framework in a separate process.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from se_parity.examination import Examination

CASE_OPTIONS = ("batch", "size", "dialect", "architecture", "prefix")
"""Options of `check` that choose the weights and the images."""

CHECKS = pytest.StashKey[list[dict[str, Any]]]()
"""Of a test: for each of its checks, the examination as a dictionary and what became of the golden file."""

REPORTED = "parity_checks"
"""The attribute of a test's report that holds the same as JSON."""

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
    if not hasattr(config, "workerinput"):  # a process of pytest-xdist, whose reports reach the main process
        config.pluginmanager.register(ParityReports(config.getoption("--parity-json")), "parity reports")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Pass on what the checks of a test found, as text, which pytest-xdist sends between processes."""
    report = yield
    checks = item.stash.get(CHECKS, [])
    if report.when == "call" and checks:
        setattr(report, REPORTED, json.dumps(checks))
    return report


class ParityReports:
    """Collects what the checks of all tests found, for `--parity-json` and the lines at the end of the run.

    Args:
        path: the JSON file to write; None writes none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.checks: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.checks += json.loads(getattr(report, REPORTED, "[]"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        goldens = [f"{check['test']}: {check['golden']}" for check in self.checks if check["golden"]]
        if goldens:
            terminalreporter.section("golden files of parity")
            for line in goldens:
                terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        if self.path:
            reports = [{"test": check["test"], **check["report"]} for check in self.checks]
            self.path.write_text(json.dumps({"schema": 1, "reports": reports}, indent=1) + "\n")


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
    calls: int = 0

    def check(self, subject: str | Path, **options: Any) -> "Examination":
        """Fail the test unless every framework gives the reference's logits, and those of its golden file if any.

        With `--parity-update` the golden file is written instead.

        Args:
            subject: a weights file, relative to the test file's folder, or the name of an architecture.
            **options: override those of the `parity` marker. `frameworks`, `modes` and `dtypes` are lists (by default
                the installed frameworks, and the modes and dtypes of the golden file or else of a quick run; an empty
                list of modes stands for all); `batch` is the number of images and `size` their (height, width);
                `device` is "cpu" or "gpu"; `dialect`, `architecture` and `prefix` are those of the file; `pythons`
                are interpreters by framework; `train` also checks ten steps of SGD and AdamW; `explain` diagnoses a
                failure (the default).

        Returns:
            The examination, which passed.
        """
        from se_parity.examination import RECIPES, ExaminationOptions, examine
        from se_parity.inputs.open_case import open_case
        from se_parity.judge.golden import golden_contents, read_golden
        from se_parity.judge.matrix import installed_frameworks
        from se_parity.judge.selection import QUICK, golden_selection
        from se_weights import MalformedFile
        from se_weights.writing.atomic_write import atomic_write

        options = {"explain": True, "train": False, **self.options, **options}
        case_options = {key: options.pop(key) for key in CASE_OPTIONS if key in options}
        case = open_case(self._resolve(subject), **case_options)
        golden = self._golden_path()
        update = self.request.config.getoption("--parity-update")
        compared = golden if golden.exists() and not update else None
        examination_options = ExaminationOptions(recipes=RECIPES if options.pop("train") else (), golden=compared)
        explain = options.pop("explain")
        try:
            selection = golden_selection(read_golden(golden)) if golden.exists() else QUICK
            default = {"frameworks": installed_frameworks(), "modes": selection.modes, "dtypes": selection.dtypes}
            examination = examine([case], examination_options, **default | options)
        except MalformedFile as error:  # the golden file; the weights file has been read
            pytest.fail(str(error), pytrace=False)
        if not examination.passed and explain:
            explained = replace(examination_options, localise=True, explain=True)
            examination = examine([case], explained, **default | options)
        shown = golden.relative_to(self.request.path.parent)
        if not update:
            outcome = "" if compared else f"no {shown} to compare with; --parity-update writes it"
        elif examination.passed:
            golden.parent.mkdir(exist_ok=True)
            with atomic_write(golden, replace=True) as temporary:
                temporary.write_text(json.dumps(golden_contents(examination.report)) + "\n")
            outcome = f"wrote {shown}"
        else:
            outcome = f"did not write {shown}, since the check failed"
        self._report(examination, outcome)
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

    def _report(self, examination: "Examination", golden: str) -> None:
        """Add the results to the JSON report, and to the test's properties in JUnit XML."""
        check = {"test": self.request.node.nodeid, "report": examination.to_dict(), "golden": golden}
        self.request.node.stash.setdefault(CHECKS, []).append(check)
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
