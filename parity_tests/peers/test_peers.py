"""The real code that a dialect comes from: its checkpoints in ours, and ours in its loader.

Run by `nox -s peers`, in an environment that holds timm and torchvision.
"""

import numpy as np
import pytest
import timm
import torch
import torchvision

import se_spec
import se_torch
import se_weights
from se_parity import Oracle, compare, sample_images, trained_like_weights
from se_parity.limits import FLOAT64_SHARE, float32_share
from se_weights import Checkpoint

TIMM = {
    "seresnet18": ("se_resnet18", {"se_bias": True, "squeeze": "round8"}),
    "seresnet34": ("se_resnet34", {"se_bias": True, "squeeze": "round8"}),
    "seresnet50": ("se_resnet50", {"se_bias": True}),
    "seresnet101": ("se_resnet101", {"se_bias": True}),
    "seresnet152": ("se_resnet152", {"se_bias": True}),
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {}),
}
TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
SIZES = [(2, 65, 49), (1, 224, 224)]


def logits(model, images):
    with torch.inference_mode():
        return model(torch.tensor(images)).numpy()


def agrees(model, architecture, weights) -> None:
    for size in SIZES:
        images = sample_images(architecture, *size)
        truth = Oracle(architecture, weights).logits(images)
        limit = min(1e-5, float32_share(architecture, weights, images, truth))
        assert compare(truth, logits(model.float(), images)).share <= limit
        assert compare(truth, logits(model.double(), images.astype(np.float64))).share <= FLOAT64_SHARE


@pytest.mark.parametrize("name", TIMM)
def test_timm_runs_what_we_write_to_the_oracles_logits(tmp_path, name):
    known, facts = TIMM[name]
    architecture = se_spec.architecture(known, num_classes=11, **facts)
    weights = trained_like_weights(architecture)
    path = tmp_path / "ours.pth"
    se_weights.write(Checkpoint(architecture, weights), path, dialect="timm")
    model = timm.create_model(name, num_classes=11).eval()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state, strict=True)
    agrees(model, architecture, weights)


@pytest.mark.parametrize("name", TIMM)
def test_we_read_what_timm_saves(tmp_path, name):
    known, facts = TIMM[name]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7).eval()
    disturb(model)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    checkpoint = se_weights.read(tmp_path / "theirs.pth")
    assert checkpoint.architecture == se_spec.architecture(known, num_classes=7, **facts)
    images = sample_images(checkpoint.architecture, 2, 65, 49)
    ours = se_torch.from_file(tmp_path / "theirs.pth").double()
    assert (
        compare(logits(model.double(), images.astype(float)), logits(ours, images.astype(float))).share <= FLOAT64_SHARE
    )


def disturb(model) -> None:
    """Move everything that begins as a zero or a one."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.ndim == 1 and value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.3)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_state_dict_is_ours(name):
    theirs = getattr(torchvision.models, name)().eval()
    ours = se_torch.create_model(name).eval()
    architecture = ours.architecture
    weights = trained_like_weights(architecture)
    se_torch.load_weights(ours, weights)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    agrees(theirs, architecture, weights)
