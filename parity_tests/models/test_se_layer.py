"""SELayer on its own, as it is used in another network."""

import numpy as np
import pytest

from parity_tests.support.tolerances import FLOAT32_ONE_LAYER

SPATIAL = [(9,), (5, 7), (3, 4, 5)]
RNG = np.random.default_rng(1)


def weights(channels: int, squeezed: int, bias: bool) -> dict[str, np.ndarray]:
    drawn = {"fc1.weight": (squeezed, channels), "fc2.weight": (channels, squeezed)}
    if bias:
        drawn |= {"fc1.bias": (squeezed,), "fc2.bias": (channels,)}
    return {name: RNG.normal(0, 0.5, shape).astype(np.float32) for name, shape in drawn.items()}


def fill(layer, values) -> None:
    """Assign the weights to the attributes of the framework."""
    for name, value in values.items():
        dense, leaf = name.split(".")
        owner = getattr(layer, dense)
        if hasattr(owner, "weight"):
            tensor = getattr(owner, leaf).data
            tensor.copy_(tensor.new_tensor(value))
        elif hasattr(owner, "units"):
            getattr(owner, {"weight": "kernel", "bias": "bias"}[leaf]).assign(value.T)
        else:
            getattr(owner, {"weight": "kernel", "bias": "bias"}[leaf])[...] = value.T


def reference(x, values):
    """The gate and the output by equations 2 to 4 of the paper, in float64."""
    z = x.astype(np.float64).mean(axis=tuple(range(2, x.ndim)))
    hidden = np.maximum(z @ values["fc1.weight"].T + values.get("fc1.bias", 0), 0)
    gate = 1 / (1 + np.exp(-(hidden @ values["fc2.weight"].T + values.get("fc2.bias", 0))))
    return gate, x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2))


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_an_se_layer_computes_equations_2_to_4(framework, spatial, bias):
    layer = framework.package.SELayer(12, 4, bias, **framework.options())
    x = RNG.normal(size=(3, 12, *spatial)).astype(np.float32)
    framework.run(layer, x)  # Keras makes its variables at the first call
    values = weights(12, 3, bias)
    fill(layer, values)
    _, expected = reference(x, values)
    assert np.abs(framework.run(layer, x) - expected).max() <= FLOAT32_ONE_LAYER * np.ptp(expected)


def test_a_square_excitation_is_not_transposed(framework):
    layer = framework.package.SELayer(6, 1, **framework.options())
    x = RNG.normal(size=(2, 6, 4, 5)).astype(np.float32) + 1
    framework.run(layer, x)
    values = weights(6, 6, False)
    fill(layer, values)
    expected = reference(x, values)[1]
    assert np.abs(framework.run(layer, x) - expected).max() <= FLOAT32_ONE_LAYER * np.ptp(expected)


def test_the_defaults_are_those_of_the_paper(framework):
    layer = framework.package.SELayer(64, **framework.options())
    framework.run(layer, np.zeros((1, 64, 2, 2), np.float32))
    assert layer.squeezed == 64 // 16
    for dense in (layer.fc1, layer.fc2):
        assert getattr(dense, "bias", None) is None or getattr(dense.bias, "value", True) is None


def test_the_squeezed_width_can_be_set(framework):
    assert framework.package.SELayer(64, squeezed=24, **framework.options()).squeezed == 24


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [((2, 8, 4, 4), "C = 12"), ((2, 12), "spatial"), ((12, 4, 4), "C = 12")],
)
def test_a_wrong_shape_raises_an_error_that_says_what_is_expected(framework, shape, complaint):
    layer = framework.package.SELayer(12, 4, **framework.options())
    with pytest.raises(ValueError, match=complaint):
        framework.run(layer, np.zeros(shape, np.float32))


def test_integer_input_is_refused(framework):
    layer = framework.package.SELayer(12, 4, **framework.options())
    with pytest.raises(TypeError, match="floating-point"):
        framework.run(layer, np.ones((1, 12, 2, 2), np.int32))


def test_a_reduction_larger_than_the_channels_is_refused(framework):
    with pytest.raises(ValueError, match="reduction"):
        framework.package.SELayer(8, 16, **framework.options())
