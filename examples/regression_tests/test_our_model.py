"""Example regression tests: the checkpoint gives the same logits in every framework, now and after upgrades."""

import pytest

pytestmark = pytest.mark.parity(modes=["eager", "graph", "jit"])  # without this mark, every mode is run


def test_our_model(parity, checkpoint):
    parity.check(checkpoint)


@pytest.mark.parity(modes=["eager"], dtypes=["float64"], size=(33, 26))
def test_fine_tuning_our_model_gives_the_same_results(parity, checkpoint):
    parity.check(checkpoint, train=True)


def test_predicted_labels_match_the_reference(parity, checkpoint):
    examination = parity.check(checkpoint, modes=["eager"], dtypes=["float32"])
    assert all(run.difference.top1 == 1 for run in examination.report.runs)
