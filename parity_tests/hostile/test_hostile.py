"""Untrusted files of every kind in research/ecosystem.md, section 3.5: each conversion ends as expected."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from string import ascii_lowercase

import pytest

from parity_tests.hostile import CASES, Case, ValidFiles
from parity_tests.hostile.run import Outcome, run
from se_weights.refusals import REFUSALS

NUMBERS = {str(number) for number in range(1, 113)} | {f"S{number}" for number in range(1, 14)}
THREADS = 2


def each_case() -> list[object]:
    """Every case; one whose number and refusal id earlier cases have already runs in the sweep only."""
    known: set[str | None] = set()
    cases = []
    for case in CASES:
        number = case.number.rstrip(ascii_lowercase)
        marks = [pytest.mark.sweep] if {number, case.id} <= known else []
        known |= {number, case.id}
        cases.append(pytest.param(case, marks=marks, id=f"{case.number} {case.title}"))
    return cases


@pytest.fixture(scope="session")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], Outcome]]:
    """Returns the outcome of a case; all cases that this session selects run in threads, ahead of their tests."""
    folder = tmp_path_factory.mktemp("hostile")
    valid = ValidFiles(folder / "valid")
    valid.folder.mkdir()
    selected = [item.callspec.params["case"] for item in request.session.items if "outcome" in item.fixturenames]
    with ThreadPoolExecutor(THREADS) as pool:
        futures: dict[str, Future[Outcome]] = {
            case.number: pool.submit(run, case, folder / case.number, valid) for case in selected
        }
        yield lambda case: futures[case.number].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", each_case())
def test_each_case_ends_as_expected(case: Case, outcome: Callable[[Case], Outcome]) -> None:
    result = outcome(case)
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.faults, "\n".join(result.faults)


def test_every_number_has_a_case_and_case_numbers_are_unique() -> None:
    assert {case.number.rstrip(ascii_lowercase) for case in CASES} == NUMBERS
    assert [number for number, count in Counter(case.number for case in CASES).items() if count > 1] == []


def test_every_refusal_id_has_a_case() -> None:
    assert set(REFUSALS) - {case.id for case in CASES} == set()


def test_every_case_has_the_exit_status_of_its_refusal_id() -> None:
    from se_cli.statuses import STATUSES

    statuses = {reason: STATUSES[refusal.kind] for reason, refusal in REFUSALS.items()}
    wrong = {case.number: case.status for case in CASES if case.status != statuses.get(case.id, case.status)}
    assert wrong == {}
