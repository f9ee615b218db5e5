"""Settings of numerics: set, restored and confirmed by a probe; and what can be tested for GPUs without one."""

import importlib
from contextlib import suppress

import numpy as np
import pytest

import se_spec
from parity_tests.support.cases import each_framework, named_network, skip_without, small_network
from parity_tests.support.frameworks import flax_rngs
from se_parity import Oracle, compare
from se_parity.diagnose.explain import fault_observer
from se_parity.diagnose.faults.operation_faults import FAULTS, round_mantissa
from se_parity.examination import simulated_tf32
from se_parity.run.numerics import Probe, probe

FULL = Probe(1024.1, 1024.1, 1152.1, 1152.1, keeps_denormals=True, repeats=True)


@pytest.fixture(params=each_framework())
def numerics(request):
    return importlib.import_module(f"se_parity.run.numerics.{request.param}")


def test_the_probe_confirms_full_float32(numerics):
    with numerics.exact("cpu"):
        found = probe(numerics)
    assert found.full_precision
    assert found.repeats


def test_the_probe_detects_operands_that_lost_bits(numerics, monkeypatch):
    right = numerics.convolve
    monkeypatch.setattr(
        numerics,
        "convolve",
        lambda images, kernel: right(
            round_mantissa(10, images).astype(np.float32), round_mantissa(10, kernel).astype(np.float32)
        ),
    )
    with numerics.exact("cpu"):
        found = probe(numerics)
    assert not found.full_precision
    assert found.product == pytest.approx(found.product_expected, rel=1e-4)
    assert found.convolution == 1152


@skip_without("torch")
def test_torchs_settings_are_set_and_restored(monkeypatch):
    import torch

    from se_parity.run.numerics import torch as numerics

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = [getattr(place, name) for place, name, _ in numerics.SETTINGS]
    with suppress(KeyError), numerics.exact("cpu"):
        assert [getattr(place, name) for place, name, _ in numerics.SETTINGS] == [
            value for _, _, value in numerics.SETTINGS
        ]
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert [getattr(place, name) for place, name, _ in numerics.SETTINGS] == before
    assert not torch.are_deterministic_algorithms_enabled()


@skip_without("flax")
def test_jaxs_settings_are_set_and_restored():
    import jax

    from se_parity.run.numerics import flax as numerics

    before = [getattr(jax.config, name) for name in numerics.SETTINGS]
    with suppress(KeyError), numerics.exact("cpu"):
        assert jax.config.jax_default_matmul_precision == "highest"
        raise KeyError
    assert [getattr(jax.config, name) for name in numerics.SETTINGS] == before


@skip_without("tf")
def test_tensorflows_settings_are_set_and_restored():
    import tensorflow as tf

    from se_parity.run.numerics import tf as numerics

    assert tf.config.experimental.tensor_float_32_execution_enabled()
    with suppress(KeyError), numerics.exact("cpu"):
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
        raise KeyError
    assert tf.config.experimental.tensor_float_32_execution_enabled()


@skip_without("flax")
def test_jax_lowered_for_cuda_requests_full_float32_for_every_product():
    import jax
    from flax import nnx

    import se_flax
    from se_parity.run.numerics import flax as numerics

    model = se_flax.SEResNet(small_network(se_bias=True).architecture, rngs=flax_rngs())
    model.eval()
    graph, state = nnx.split(model)
    images = jax.numpy.ones((1, 33, 20, 3))

    def products() -> list[str]:
        traced = jax.jit(lambda state, images: nnx.merge(graph, state)(images)).trace(state, images)
        lines = traced.lower(lowering_platforms=("cuda",)).as_text().splitlines()
        return [line for line in lines if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]

    with numerics.exact("cpu"):
        exact = products()
    assert len(exact) > 20
    assert all("HIGHEST" in line for line in exact)
    assert not any("HIGHEST" in line for line in products())


@skip_without("torch")
def test_no_tensor_of_the_torch_model_is_left_on_the_cpu(monkeypatch):
    import torch
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    import se_torch

    model = se_torch.SEResNet(se_spec.architecture("se_resnext26d")).eval()
    fakes = FakeTensorMode()

    def on_cuda(tensor: torch.Tensor) -> torch.Tensor:
        shape = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(fakes, shape, torch.device("cuda:0"))

    state = {name: on_cuda(tensor) for name, tensor in model.state_dict().items()}
    with fakes:
        logits = torch.func.functional_call(model, state, (on_cuda(torch.empty(2, 3, 64, 49)),))
    assert logits.device.type == "cuda"
    monkeypatch.setattr(
        se_torch.SEResNet, "head", lambda self, x: self.fc(x.mean(dim=(2, 3)) + torch.zeros(self.fc.in_features))
    )
    with pytest.raises(RuntimeError, match="device"), fakes:
        torch.func.functional_call(model, state, (on_cuda(torch.empty(2, 3, 64, 49)),))


def test_simulated_tf32_is_far_beyond_the_float32_limit():
    network = small_network()
    assert simulated_tf32(network.case).share > 10 * network.limit


def test_round_mantissa_keeps_the_bits_of_the_format():
    assert round_mantissa(10, np.array([1.0001, 1 + 2**-10, -3.14159265])) == pytest.approx(
        [1, 1 + 2**-10, -3.140625], abs=0
    )
    values = np.random.default_rng(0).normal(size=1000)
    assert np.array_equal(round_mantissa(7, values), values.astype("bfloat16").astype(np.float64))


def test_every_fault_changes_the_logits_of_some_network():
    """A fault that changes no network could not explain any difference."""
    cases = [small_network(se_bias=True).case, small_network("basic").case, _square(), _with_relu()]
    others = ("se_densenet121 with every SE layer", "resnetblur18, small")
    others += ("se_resnet18 with ECA layers", "se_preresnet18 of qubvel")
    cases += [named_network(case).case for case in others]
    for fault in FAULTS:
        assert any(
            not np.array_equal(
                Oracle(case.architecture, case.weights, observe=fault_observer(case, fault)).logits(case.images),
                Oracle(case.architecture, case.weights).logits(case.images),
            )
            for case in cases
        ), fault.name


def _square():
    from parity_tests.support.cases import THREE_STAGES, network

    return network(se_spec.architecture("se_resnet50", **{**THREE_STAGES, "reduction": 1, "se_bias": True})).case


def _with_relu():
    from parity_tests.support.cases import THREE_STAGES, network

    settings = {**THREE_STAGES, "squeeze": {"after_relu": True}, "bn_epsilon": 1e-3, "reduction": 4}
    return network(se_spec.architecture("se_resnet18", **settings)).case


def test_labels_that_no_error_within_the_limit_can_flip_are_certified():
    from se_parity.judge.difference import label_agreement

    reference = np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 1.1]])
    turned = np.array([[0.0, 6.0, 5.0], [0.0, 1.2, 1.1]])
    agreement = label_agreement(reference, turned, limit=0.1)
    assert (agreement.certified, agreement.flipped) == (0.5, 0.5)
    assert label_agreement(reference, reference, limit=0.1).flipped == 0
    assert label_agreement(reference[1:], turned[1:], limit=0.1).flipped == 0


def test_bfloat16_is_compared_in_ulps_of_bfloat16():
    reference = np.array([[1.0, 2.0, 3.0, 100.0]])
    output = reference.astype("bfloat16")
    output[0, 3] = 100.5
    assert compare(reference, output).ulp_largest == 1.0
