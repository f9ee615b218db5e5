"""The PyTorch model in the uses that PyTorch has: export, channels last, autocast, compile, copy, pickle, gradients."""

import copy
import pickle

import numpy as np
import pytest

from parity_tests.support.cases import named_network, skip_without, small_network
from parity_tests.support.tolerances import BFLOAT16_LOGITS, FLOAT32_STEP
from se_parity import compare

pytestmark = skip_without("torch")


@pytest.fixture
def network():
    return small_network(se_bias=True)


@pytest.fixture
def model(network):
    import se_torch

    model = se_torch.SEResNet(network.architecture).eval()
    se_torch.load_weights(model, network.weights)
    return model


def share(network, logits) -> float:
    return compare(network.reference, logits.detach().float().numpy()).share


def test_export_gives_the_same_logits_at_another_batch_and_size(model, network):
    import torch

    x = torch.tensor(network.images)
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
