"""A team's own regression tests: its checkpoint gives the same logits in every framework, and keeps giving them."""

import pytest

pytestmark = pytest.mark.parity(modes=["eager", "graph", "jit"])  # every mode, where this is left out


def test_our_model(parity, checkpoint):
    parity.check(checkpoint)


@pytest.mark.parity(modes=["eager"], dtypes=["float64"], size=(33, 26))
def test_our_model_is_fine_tuned_alike(parity, checkpoint):
    parity.check(checkpoint, train=True)


def test_labels_are_the_oracles(parity, checkpoint):
    examined = parity.check(checkpoint, modes=["eager"], dtypes=["float32"])
    assert all(run.difference.top1 == 1 for run in examined.report.runs)
