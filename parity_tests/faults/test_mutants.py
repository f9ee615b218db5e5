"""Tests the parity check with mutants: it detects, localises and names every fault, and finds none in correct models.

`python -m parity_tests.faults.mutants_table` runs all mutants and writes docs/about/mutants.md.
"""

from pathlib import Path

import numpy as np
import pytest

import se_spec
from parity_tests.faults.mutants_table import ALL_MUTANTS, run_mutant, run_training_mutant
from parity_tests.faults.training_mutants import TRAINING_MUTANTS
from parity_tests.support.cases import skip_without
from se_parity import Case, Worker, check_parity, sample_images, trained_like_weights
from se_parity.diagnose.diagnosis import diagnose

TABLE = Path(__file__).parents[2] / "docs" / "about" / "mutants.md"

pytestmark = pytest.mark.faults

SEEDS = [pytest.param(seed, marks=[] if seed < 3 else pytest.mark.sweep) for seed in range(20)]
"""One for each framework in every run, and the others in the sweep."""


@pytest.mark.parametrize("name", ALL_MUTANTS)
def test_a_fault_is_caught_localised_and_named(name):
    mutant = ALL_MUTANTS[name]
    result = run_mutant(name)
    assert result.caught, name
    assert result.place == mutant.place
    assert result.named == mutant.fault


@pytest.mark.parametrize("name", TRAINING_MUTANTS)
def test_a_training_fault_is_caught_and_named(name):
    result = run_training_mutant(name)
    assert result.caught, name
    assert result.named == TRAINING_MUTANTS[name].fault


def test_the_table_in_the_docs_has_every_fault():
    rows = TABLE.read_text().splitlines()
    for name in (*ALL_MUTANTS, *TRAINING_MUTANTS):
        assert sum(row.startswith(f"| {name} |") for row in rows) == 1, name


@skip_without("torch")
@skip_without("tf")
@skip_without("flax")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_fault_is_found_in_correct_models(seed):
    """Each seed has other weights, images, sizes and threads; the frameworks take turns."""
    rng = np.random.default_rng(seed)
    framework = ("torch", "tf", "flax")[seed % 3]
    threads = str(1 + seed % 2)
    name = str(rng.choice(["se_resnet18", "se_resnet50", "se_resnext26d"]))
    overrides = {"base_width": 16, "groups": 1} if name == "se_resnext26d" else {}
    architecture = se_spec.architecture(
        name,
        depths=(1, int(rng.integers(1, 4))),
        widths=(8, int(rng.integers(2, 5)) * 4),
        num_classes=int(rng.integers(2, 12)),
        reduction=4,
        **overrides,
    )
    size = int(rng.integers(20, 90)), int(rng.integers(20, 90))
    weights = trained_like_weights(architecture, seed)
    case = Case("random", architecture, weights, sample_images(architecture, int(rng.integers(1, 5)), *size, seed))
    variables = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    with Worker(framework, variables=variables) as worker:
        diagnosis = diagnose(worker, case)
    assert not diagnosis.failing, diagnosis.sentences
    report = check_parity([case], frameworks=[framework], modes=["eager"])
    assert report.passed, [run.to_dict() for run in report.runs if not run.passed]
