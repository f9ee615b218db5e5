"""ResNets of code bases that cannot be installed: their own classes make files, whose logits the reference gives."""

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import skip_without
from parity_tests.support.tolerances import FLOAT64_LOGITS, SAME_OPERATIONS
from se_parity import Oracle, compare, trained_like_weights
from se_weights import UnsupportedFormat

pytestmark = skip_without("torch")


def published(name):
    from parity_tests.support import published_resnets as code
    from parity_tests.support.published_densenets import with_trained_like_weights

    def plain(inputs, outputs, stride):
        return code.KuangliuPreActBlock(inputs, outputs, stride, se=False)

    makers = {
        "kuangliu's ResNet": lambda: code.CifarResNet(code.KuangliuBlock),
        "kuangliu's PreActResNet": lambda: code.CifarResNet(plain, stem_norm=False),
        "kuangliu's SENet": lambda: code.CifarResNet(code.KuangliuPreActBlock),
        "the tutorial's": lambda: code.CifarResNet(code.TutorialBlock, "fc"),
        "miraclewkf's": code.MiracleResNet,
        "torch_backbones' 18": lambda: code.SharedResNet(code.SharedBasic, (16, 32)),
        "torch_backbones' 50": lambda: code.SharedResNet(code.SharedBottleneck, (64, 128)),
    }
    return with_trained_like_weights(makers[name]())


DIALECTS = {
    "kuangliu's ResNet": "kuangliu",
    "kuangliu's PreActResNet": "kuangliu",
    "kuangliu's SENet": "kuangliu",
    "the tutorial's": "cifar-tutorial",
    "miraclewkf's": "miraclewkf",
    "torch_backbones' 18": "torch-backbones",
    "torch_backbones' 50": "torch-backbones",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_file_of_a_published_class_has_its_logits(tmp_path, name):
    """On images of odd sizes, and back into the class from the canonical names."""
    import torch

    model = published(name).eval()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    images = np.random.default_rng(0).normal(size=(2, 3, 75, 98))
    with torch.no_grad():
        expected = model.double()(torch.tensor(images)).numpy()
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert checkpoint.dialect == DIALECTS[name]
    assert ("softmax" in " ".join(se_weights.notes(checkpoint))) == name.startswith("torch_backbones")
    logits = Oracle(checkpoint.architecture, checkpoint.weights).logits(images)
    if name.startswith("torch_backbones"):  # which end in a softmax
        logits, expected = (array - array.max(axis=1, keepdims=True) for array in (logits, np.log(expected)))
    assert compare(logits, expected).share <= FLOAT64_LOGITS
    se_weights.write(checkpoint, tmp_path / "canonical.safetensors")
    se_weights.convert(tmp_path / "canonical.safetensors", tmp_path / "b.pth", dialect=DIALECTS[name])
    state = torch.load(tmp_path / "b.pth")
    own = {key: tensor for key, tensor in model.float().state_dict().items() if "num_batches_tracked" not in key}
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)


@pytest.mark.parametrize("name", ["torch_backbones' 18", "torch_backbones' 50"])
def test_a_shared_norm_trains_as_in_its_class_and_is_written_back(tmp_path, name):
    """Both uses move its statistics, and their gradients add; the class then loads what se_torch has trained."""
    import torch

    import se_torch

    published_model = published(name)
    torch.save(published_model.state_dict(), tmp_path / "a.pth")
    model = se_torch.from_file(tmp_path / "a.pth").double().train()
    images = torch.tensor(np.random.default_rng(0).normal(size=(4, 3, 41, 50)))
    labels = torch.tensor([0, 1, 2, 3])

    def step(network, log_probabilities):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            torch.nn.functional.nll_loss(log_probabilities(network(images)), labels).backward()
            optimizer.step()

    step(model, lambda logits: logits.log_softmax(dim=1))
    step(published_model.double().train(), torch.log)
    trained = se_weights.Checkpoint(model.architecture, se_torch.read_weights(model))
    se_weights.write(trained, tmp_path / "b.npz", dialect="torch-backbones")
    written, expected = np.load(tmp_path / "b.npz"), published_model.state_dict()
    assert {key for key in expected if "num_batches" not in key} == set(written.files)
    for key in written.files:
        assert np.abs(written[key] - expected[key].numpy()).max() <= SAME_OPERATIONS * np.abs(written[key]).max(), key


def test_a_network_with_a_norm_for_each_convolution_is_not_written_as_one_that_shares_them(tmp_path):
    network = se_spec.architecture("se_resnet18", depths=(1,), widths=(16,), se_bias=True)
    checkpoint = se_weights.Checkpoint(network, trained_like_weights(network))
    with pytest.raises(UnsupportedFormat, match="shared_norms is False, and True in torch-backbones"):
        se_weights.write(checkpoint, tmp_path / "b.pth", dialect="torch-backbones")
    assert not (tmp_path / "b.pth").exists()


def test_a_file_without_the_tensors_of_one_norm_lacks_them(tmp_path):
    """It is not read as a network that shares its norms."""
    network = se_spec.architecture("se_resnet18", depths=(1, 1), widths=(16, 32), num_classes=5)
    weights = {name: array for name, array in trained_like_weights(network).items() if "layer2.0.bn2" not in name}
    np.savez(tmp_path / "a.npz", **weights)
    with pytest.raises(se_weights.WeightMismatch, match=r"- layer2\.0\.bn2\.running_var") as caught:
        se_weights.read(tmp_path / "a.npz")
    assert "bn1" not in str(caught.value)
