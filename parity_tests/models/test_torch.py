"""The PyTorch model in the uses that PyTorch has: export, channels last, autocast, compile, copy, pickle, gradients."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import se_spec
from parity_tests.support.cases import named_network, skip_without, small_network
from parity_tests.support.cases import network as make_network
from parity_tests.support.tolerances import BFLOAT16_LOGITS, FLOAT32_STEP
from se_parity import compare
from se_spec.layers import ALIGNMENTS
from se_weights import WeightMismatch, weights_sha256

pytestmark = skip_without("torch")

SMALL = {"depths": (1, 1), "widths": (16, 16), "reduction": 4, "num_classes": 5}


@pytest.fixture
def network():
    return small_network(se_bias=True)


@pytest.fixture
def model(network):
    return loaded(network)


def loaded(network):
    import se_torch

    model = se_torch.SEResNet(network.architecture).eval()
    se_torch.load_weights(model, network.weights)
    return model


def share(network, logits) -> float:
    return compare(network.reference, logits.detach().float().numpy()).share


@pytest.mark.parametrize("pool", [*ALIGNMENTS, "none"])
def test_export_gives_the_same_logits_at_another_batch_and_size(pool):
    import torch

    network = make_network(se_spec.architecture("se_resnet50", **SMALL, stem={"pool": pool}))
    model, x = loaded(network), torch.tensor(network.images)
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=33), 3: torch.export.Dim("width", min=33)}
    exported = torch.export.export(model, (x[..., :40, :48].contiguous(),), dynamic_shapes={"images": sizes}).module()
    assert share(network, exported(x)) <= network.limit


def test_channels_last_is_kept_and_gives_the_same_logits(model, network):
    import torch

    last = model.to(memory_format=torch.channels_last)
    x = torch.tensor(network.images).to(memory_format=torch.channels_last)
    assert last.stem(x).is_contiguous(memory_format=torch.channels_last)
    assert share(network, last(x)) <= network.limit


def test_forward_hooks_of_the_stages_are_called(model, network):
    import torch

    called = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        getattr(model, stage).register_forward_hook(lambda module, inputs, output, stage=stage: called.append(stage))
    model(torch.tensor(network.images))
    assert called == ["layer1", "layer2", "layer3", "layer4"]


def test_autocast_gives_close_logits():
    import torch

    import se_torch

    network = named_network("se_resnet18")
    model = se_torch.SEResNet(network.architecture).eval()
    se_torch.load_weights(model, network.weights)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.tensor(network.images))
    assert logits.dtype == torch.bfloat16
    assert 0 < share(network, logits) <= BFLOAT16_LOGITS


def test_images_of_another_dtype_raise_an_error_that_names_both(model, network):
    import torch

    with pytest.raises(TypeError, match=r"torch\.float32: got torch\.float64"):
        model(torch.tensor(network.images).double())
    assert model.double()(torch.tensor(network.images).double()).dtype == torch.float64


@pytest.mark.sweep
def test_a_compiled_model_trains_like_the_eager_one(network):
    import torch

    import se_torch

    model = se_torch.create_model("se_resnet18", depths=(1,), widths=(8,), reduction=2, num_classes=5)

    x, labels = torch.tensor(network.images), torch.tensor([1, 3])
    moved = []
    for run in (lambda net: net, torch.compile):
        net = copy.deepcopy(model).train()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        torch.nn.functional.cross_entropy(run(net)(x), labels).backward()
        optimiser.step()
        moved.append({name: value.numpy() for name, value in net.state_dict().items()})
    for name, value in moved[0].items():
        np.testing.assert_allclose(moved[1][name], value, err_msg=name, **FLOAT32_STEP)


def test_a_copy_and_a_pickle_are_the_same_network(model, network):
    import torch

    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert share(network, other(torch.tensor(network.images))) <= network.limit


def test_every_parameter_gets_a_gradient(model, network):
    import torch

    model.train()(torch.tensor(network.images)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_layers_and_stages_can_be_hooked_in_both_directions(block):
    """In-place operations would change what hooks have seen, and full backward hooks would raise an error."""
    import torch

    import se_torch

    network = small_network(block)
    model = se_torch.SEResNet(network.architecture).eval()
    seen, gradients = {}, {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output.clone()}))
        module.register_full_backward_hook(lambda module, inputs, outputs, name=name: gradients.update({name: outputs}))
    kept = {}
    model.layer1[0].bn1.register_forward_hook(lambda module, inputs, output: kept.update(output=output))
    model(torch.tensor(network.images).requires_grad_()).sum().backward()
    assert torch.equal(kept["output"], seen["layer1.0.bn1"])
    assert (kept["output"] < 0).any()
    assert {"layer1", "layer1.0", "layer1.0.bn1", "layer1.0.se", "fc"} <= set(gradients)


@pytest.mark.parametrize("global_hook", [False, True])
def test_a_dense_layer_overwrites_nothing_that_a_hook_has_seen(global_hook):
    import torch

    import se_torch

    network = named_network("se_densenet121 of the tutorial")
    model = se_torch.SEDenseNet(network.architecture).eval()
    images = torch.tensor(network.images)
    expected, kept = model(images), {}
    layer = model.features.denseblock1.denselayer1

    def keep(module, inputs, output):
        if module in (layer.norm1, layer.norm2):
            kept[module] = output

    with torch.inference_mode():
        assert torch.equal(model(images), expected)
        if global_hook:
            hooks = [torch.nn.modules.module.register_module_forward_hook(keep)]
        else:
            hooks = [norm.register_forward_hook(keep) for norm in (layer.norm1, layer.norm2)]
        assert torch.equal(model(images), expected)
        for hook in hooks:
            hook.remove()
        assert all((kept[norm] < 0).any() for norm in (layer.norm1, layer.norm2))
        layer.norm1 = torch.nn.Identity()
        features = model.features.stem(images)
        before = features.clone()
        layer([features])
        assert torch.equal(features, before)


def test_a_traced_densenet_overwrites_nothing_since_its_nodes_can_be_returned():
    import torch

    import se_torch

    model = se_torch.SEDenseNet(named_network("se_densenet121 of the tutorial").architecture).eval()
    with torch.no_grad():
        traced = torch.fx.symbolic_trace(model)
    rectified = [node for node in traced.graph.nodes if node.target is torch.nn.functional.relu]
    assert rectified
    assert not any(node.kwargs.get("inplace") for node in rectified)


@pytest.mark.parametrize("pool", ["pad1", "ceil", "same"])
def test_symbolic_tracing_gives_the_same_logits_and_keeps_the_checks(network, pool):
    import torch

    import se_torch

    traced_from = se_torch.SEResNet(network.architecture.replace(stem={"pool": pool})).eval()
    traced, x = torch.fx.symbolic_trace(traced_from), torch.tensor(network.images)
    assert torch.equal(traced(x), traced_from(x))
    with pytest.raises(ValueError, match="C = 3"):
        traced(x[:, :2])


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")  # TorchScript as a whole
@pytest.mark.parametrize("how", ["symbolically traced", "scripted", "compiled", "exported"])
def test_every_form_drops_residuals_in_training(network, how):
    import torch

    import se_torch

    model = se_torch.SEResNet(network.architecture.replace(drop_path=0.9, dropout=0.5)).train()
    x = torch.tensor(network.images)
    forms = {
        "symbolically traced": torch.fx.symbolic_trace,
        "scripted": torch.jit.script,
        "compiled": lambda model: torch.compile(model, backend="eager"),
        "exported": lambda model: torch.export.export(model, (x,)).module(),
    }
    form = forms[how](model)
    logits = [form(x).detach() for _ in range(4)]
    assert not any(torch.equal(logits[0], other) for other in logits[1:])


def wrapper(how):
    import torch
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return {"compiled": torch.compile, "checkpointed": checkpoint_wrapper}[how]


@pytest.mark.parametrize("how", ["compiled", "checkpointed"])
def test_a_stage_can_be_wrapped_and_the_weights_still_be_read(model, network, how):
    import torch

    import se_torch

    model.layer2 = wrapper(how)(model.layer2)
    assert weights_sha256(se_torch.read_weights(model)) == weights_sha256(network.weights)
    assert share(network, se_torch.fold_batchnorm(model)(torch.tensor(network.images))) <= network.limit
    se_torch.load_weights(model, network.weights)


REPLACED = {
    "layer2.0.act": lambda torch, model: setattr(model.layer2[0], "act", torch.nn.SiLU()),
    "maxpool": lambda torch, model: setattr(model, "maxpool", torch.nn.Identity()),
    "conv1": lambda torch, model: setattr(model.conv1, "stride", (1, 1)),
    "layer1.0.bn2": lambda torch, model: setattr(model.layer1[0], "bn2", torch.nn.BatchNorm2d(8, eps=1e-2)),
    "layer1.0.pool": lambda torch, model: setattr(model.layer1[0], "pool", torch.nn.AvgPool2d(1)),
    "dropout": lambda torch, model: setattr(model, "dropout", torch.nn.ReLU()),
    "fc": lambda torch, model: setattr(model, "fc", torch.nn.Linear(64, 5, bias=False)),
    "layer3": lambda torch, model: setattr(model, "layer3", torch.nn.Identity()),
    "fc.1": lambda torch, model: setattr(model, "fc", torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(64, 2))),
}


@pytest.mark.parametrize("path", REPLACED)
def test_a_part_that_was_replaced_is_named_where_the_weights_are_read(model, path):
    import torch

    import se_torch

    REPLACED[path](torch, model)
    for use in (se_torch.read_weights, se_torch.fold_batchnorm, se_torch.optimize_for_inference):
        with pytest.raises(WeightMismatch, match=rf"[-+!] {path}\b"):
            use(model)


def test_norms_may_be_synchronised_and_have_another_momentum(model, network):
    import torch

    import se_torch

    model.bn1.momentum = 0.01
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert weights_sha256(se_torch.read_weights(synchronised)) == weights_sha256(network.weights)


def test_a_classifier_put_in_by_hand_is_read_folded_and_saved(model, network, tmp_path):
    import torch

    import se_torch

    model.fc = torch.nn.Linear(model.fc.in_features, 10)
    assert model.architecture.num_classes == 10
    x = torch.tensor(network.images)
    for other in (
        se_torch.fold_batchnorm(model),
        saved_and_read(model, tmp_path / "state.pth", lambda path: torch.save(model.state_dict(), path)),
        saved_and_read(model, tmp_path / "ours.pth", lambda path: se_torch.save(model, path)),
    ):
        assert other(x).shape == (len(x), 10)
        torch.testing.assert_close(other(x), model(x), rtol=1e-3, atol=1e-4)


def saved_and_read(model, path, save):
    import se_torch

    save(path)
    return se_torch.from_file(path)


def test_the_error_for_a_foreign_state_dict_names_from_file(model):
    with pytest.raises(RuntimeError, match=r"Missing key.*\n(.*\n)*.*se_torch\.from_file"):
        model.load_state_dict({"features.weight": model.fc.weight})


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")  # TorchScript as a whole
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the checks of shapes are not traced
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("se_resnet50", {"stem": {"pool": pool}}) for pool in (*ALIGNMENTS, "none")),
        ("senet154", {"groups": 4, "base_width": 32}),
        ("se_resnext26t", {"groups": 2}),
    ],
)
def test_torchscript_gives_the_same_logits_scripted_traced_and_saved(name, settings):
    """Every pool, a deep stem, and averaging shortcuts."""
    import torch

    known = make_network(se_spec.architecture(name, **SMALL, **settings))
    model = loaded(known)
    x = torch.tensor(known.images)
    scripted, traced = torch.jit.script(model), torch.jit.trace(model, x, check_trace=False)
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    for form in (scripted, traced, torch.jit.load(file), torch.jit.freeze(scripted)):
        assert share(known, form(x)) <= known.limit


def test_a_state_dict_and_a_whole_model_are_saved_and_loaded(model, network):
    import torch

    import se_torch

    x, state, whole = torch.tensor(network.images), io.BytesIO(), io.BytesIO()
    torch.save(model.state_dict(), state)
    torch.save(model, whole)
    state.seek(0)
    whole.seek(0)
    with torch.device("meta"):  # as large models are created, to be filled by assignment
        again = se_torch.SEResNet(network.architecture).eval()
    again.load_state_dict(torch.load(state, weights_only=True), assign=True)
    assert torch.equal(again(x), model(x))
    assert torch.equal(torch.load(whole, weights_only=False)(x), model(x))


def test_a_moving_average_of_the_weights_is_kept_and_its_norms_are_updated(model, network):
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

    import se_torch

    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(model)
    with torch.no_grad():
        model.fc.bias += 1.0
    averaged.update_parameters(model)
    update_bn([torch.tensor(network.images)], averaged)
    moved = se_torch.read_weights(averaged.module)["fc.bias"] - network.weights["fc.bias"]
    assert moved == pytest.approx(0.1, abs=1e-6)


def test_gradients_of_each_image_are_computed_by_vmap(model, network):
    """As differential privacy and influence functions do, with functional_call."""
    import torch

    x = torch.tensor(network.images)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def score(parameters, image):
        return torch.func.functional_call(model, (parameters, buffers), (image[None],)).logsumexp(1).sum()

    each = torch.func.vmap(torch.func.grad(score), (None, 0))(parameters, x)
    model(x).logsumexp(1).sum().backward()
    assert torch.allclose(each["conv1.weight"].sum(0), model.conv1.weight.grad, rtol=1e-3, atol=1e-5)


def test_a_frozen_backbone_gets_no_gradients(model, network):
    import torch

    model.requires_grad_(False)
    model.reset_classifier(3)
    model(torch.tensor(network.images)).sum().backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("parallel", ["DistributedDataParallel", "fully_shard"])
def test_a_distributed_model_trains_and_its_weights_are_read_and_loaded(parallel, tmp_path, network):
    """One process of gloo: the wrapper's effects on names and tensors are those of several."""
    program = tmp_path / "train.py"
    program.write_text(DISTRIBUTED)
    command = [sys.executable, program, parallel]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr
    assert "the same weights" in ran.stdout


DISTRIBUTED = """
import sys
import torch
import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import se_torch

store = torch.distributed.HashStore()
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
model = se_torch.create_model("se_resnet18", depths=(1, 1), widths=(16, 16), num_classes=5).train()
before = se_torch.read_weights(model)
if sys.argv[1] == "fully_shard":
    mesh = init_device_mesh("cpu", (1,))
    for part in (model.layer1, model.layer2, model):
        fully_shard(part, mesh=mesh)
    outer = model
else:
    outer = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(outer.parameters(), lr=0.1)
outer(torch.randn(4, 3, 33, 26)).logsumexp(1).sum().backward()
optimizer.step()
trained = se_torch.read_weights(model)
assert trained.keys() == before.keys()
assert all((trained[name] != before[name]).any() for name in trained)
se_torch.load_weights(model, before)
assert all((se_torch.read_weights(model)[name] == before[name]).all() for name in before)
print("the same weights")
"""
