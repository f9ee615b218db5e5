"""ResNets of code bases that cannot be installed: their own classes make files, whose logits the reference gives."""

import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import skip_without
from parity_tests.support.tolerances import FLOAT64_LOGITS
from se_parity import Oracle, compare
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


def test_weights_that_differ_are_not_written_as_one_tensor(tmp_path):
    """After training with our networks, the norms of a block are no longer one."""
    import torch

    torch.save(published("torch_backbones' 18").state_dict(), tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert "two equal ones" in checkpoint.metadata["twins"]
    changed = dict(checkpoint.weights)
    changed["layer1.0.bn2.bias"] = changed["layer1.0.bn2.bias"] + 1
    with pytest.raises(UnsupportedFormat, match=r"layer1\.0\.bn1\.bias and layer1\.0\.bn2\.bias"):
        se_weights.write(checkpoint.with_weights(changed, {}), tmp_path / "b.pth", dialect="torch-backbones")
    assert not (tmp_path / "b.pth").exists()
