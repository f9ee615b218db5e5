"""SELayer and ECALayer on their own, as they are used in another network."""

import numpy as np
import pytest

from parity_tests.support.tolerances import FLOAT32_ONE_LAYER
from se_spec import ArchitectureError

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


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("kernel", [None, 5])
def test_an_eca_layer_convolves_the_means_of_neighbouring_channels(framework, spatial, kernel):
    """Channels beyond the ends count as zeros (arXiv 1910.03151, eq. 9)."""
    layer = framework.package.ECALayer(12, kernel, **framework.options())
    x = RNG.normal(size=(3, 12, *spatial)).astype(np.float32)
    framework.run(layer, x)  # Keras makes its variables at the first call
    weight = RNG.normal(0, 1, kernel or 3).astype(np.float32)
    stored = getattr(layer.conv, "weight", None) if framework.name == "torch" else layer.conv.kernel
    if framework.name == "torch":
        stored.data.copy_(stored.data.new_tensor(weight)[None, None])
    elif framework.name == "tf":
        stored.assign(weight[:, None, None])
    else:
        stored[...] = weight[:, None, None]
    means = np.pad(x.astype(np.float64).mean(axis=tuple(range(2, x.ndim))), ((0, 0), (len(weight) // 2,) * 2))
    gate = 1 / (1 + np.exp(-np.array([np.correlate(vector, weight, "valid") for vector in means])))
    expected = x * gate.reshape(*gate.shape, *[1] * len(spatial))
    assert np.abs(framework.run(layer, x) - expected).max() <= FLOAT32_ONE_LAYER * np.ptp(expected)


def test_an_eca_layer_names_what_it_cannot_take(framework):
    layer = framework.package.ECALayer(12, **framework.options())
    with pytest.raises(ValueError, match="C = 12"):
        framework.run(layer, np.zeros((2, 8, 4, 4), np.float32))


def test_a_network_without_a_last_norm_in_its_branches_cannot_start_them_at_zero(framework):
    sizes = {"depths": (1,), "widths": (16,), "num_classes": 3}
    with pytest.raises(ArchitectureError, match="zero_init_residual"):
        framework.package.create_model("se_preresnet18", **sizes, zero_init_residual=True, **framework.options())
