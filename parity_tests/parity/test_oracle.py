"""The float64 reference network, against sums that are written out as loops."""

import gc
import weakref
from itertools import product

import numpy as np
import pytest

from parity_tests.support.cases import small_network
from se_parity import sample_images, trained_like_weights
from se_parity.reference.activations import record_activations
from se_parity.reference.convolution import convolve
from se_parity.reference.oracle import Oracle
from se_parity.reference.pools import max_pool
from se_spec import Convolution, MaxPool
from se_spec.layers import pair

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        *((kernel, {"stride": stride}) for kernel, stride in ((3, 1), (3, 2), (1, 2), (7, 2), ((3, 5), (2, 1)))),
        (3, {"dilation": 2}),
        ((3, 1), {"dilation": (3, 1), "padding": (1, 2)}),
        (2, {"stride": 2, "padding": 0}),
    ],
)
def test_a_convolution_is_the_sum_of_its_products(kernel, settings):
    convolution = Convolution(3, 4, kernel, **settings)
    (rows, columns), strides = convolution.paddings, pair(convolution.stride)
    x, weights = RNG.normal(size=(2, 3, 7, 10)), RNG.normal(size=convolution.shape)
    padded = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    y = convolve(x, weights, convolution)
    assert y.shape[1:] == convolution.output(x.shape[1:])
    for n, o, row, column in product(*map(range, y.shape)):
        top, left = row * strides[0], column * strides[1]
        down, right = (
            slice(start, start + span, dilation)
            for start, span, dilation in zip((top, left), convolution.spans, pair(convolution.dilation), strict=True)
        )
        assert y[n, o, row, column] == pytest.approx((padded[n, :, down, right] * weights[o]).sum(), rel=1e-12)


def test_a_max_pool_of_a_negative_map_ignores_its_padding():
    y = max_pool(np.full((1, 1, 4, 5), -3.0), MaxPool())
    assert y.shape == (1, 1, 2, 3)
    assert (y == -3).all()


def test_a_reference_network_is_freed_as_soon_as_it_is_not_used():
    """Its float64 weights would wait for the garbage collector in a cycle of references: gigabytes in a parity run."""
    network = small_network("basic")
    oracle = Oracle(network.architecture, network.weights)
    oracle.logits(network.images)
    alive = weakref.ref(oracle)
    gc.disable()
    try:
        del oracle
        assert alive() is None
    finally:
        gc.enable()


def test_a_gate_scales_every_position_of_its_channel():
    network = small_network("basic", se_bias=True)
    seen = record_activations(network.case).outputs
    block = "layer2.0"
    weights = {
        name: network.weights[f"{block}.se.{name}"].astype(float)
        for name in ("fc1.weight", "fc2.weight", "fc1.bias", "fc2.bias")
    }
    z = seen[f"{block}.bn2"].mean(axis=(2, 3))
    hidden = np.maximum(z @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ weights["fc2.weight"].T + weights["fc2.bias"])))
    np.testing.assert_allclose(seen[f"{block}.se"], seen[f"{block}.bn2"] * gate[:, :, None, None], rtol=1e-12)


def test_trained_like_weights_depend_only_on_the_seed_and_are_not_constant():
    architecture = small_network().architecture
    one, again, other = (trained_like_weights(architecture, seed) for seed in (3, 3, 4))
    for name, array in one.items():
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, other[name])
        assert np.ptp(array) > 0 or array.size == 1


def test_sample_images_change_under_every_flip_and_transpose():
    images = sample_images(small_network().architecture, 1, 8, 8)[0, 0]
    for changed in (images[::-1], images[:, ::-1], images.T, images[::-1, ::-1]):
        assert np.abs(changed - images).max() > 0.5
