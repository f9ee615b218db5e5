"""Folders to share: what is written, and who reads it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import se_weights
from parity_tests.support.cases import skip_without
from se_parity.inputs.trained_like import trained_like_weights
from se_spec import architecture
from se_weights import TargetExists
from se_weights.preprocessing import IMAGENET

PREPROCESSING = replace(IMAGENET, size=176, interpolation="bicubic", crop=0.95, crop_mode="squash")


@pytest.fixture
def checkpoint():
    network = architecture("se_resnet18", se_bias=True, squeeze="round8", num_classes=7)
    metadata = {"preprocessing": PREPROCESSING.text, "published": "timm seresnet18.test"}
    return se_weights.Checkpoint(network, trained_like_weights(network), metadata=metadata)


def test_a_folder_has_the_weights_a_config_and_a_card(checkpoint, tmp_path):
    se_weights.save_pretrained(checkpoint, tmp_path / "ours", licence="apache-2.0", parity="| torch | 1e-16 |")
    assert {each.name for each in (tmp_path / "ours").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("seresnet18", 7)
    pretrained = config["pretrained_cfg"]
    assert (pretrained["input_size"], pretrained["crop_mode"]) == ([3, 176, 176], "squash")
    header, card = (tmp_path / "ours" / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    assert "library_name: timm\n" in header
    assert "license: apache-2.0\n" in header
    for said in ("`se_resnet18`", checkpoint.weights_sha256, "timm seresnet18.test", "176 x 176", "| torch | 1e-16 |"):
        assert said in card


def test_a_network_that_timm_does_not_have_is_written_with_canonical_names(tmp_path):
    network = architecture("se_resnet18", widths=(8, 16, 24, 32), reduction=4, conv_bias=True, num_classes=3)
    checkpoint = se_weights.Checkpoint(network, trained_like_weights(network))
    se_weights.save_pretrained(checkpoint, tmp_path / "ours")
    assert se_weights.read(tmp_path / "ours").dialect == "torch"
    assert "library_name: se-resnet" in (tmp_path / "ours" / "README.md").read_text()


def test_another_tool_that_drops_our_metadata_keeps_the_preprocessing(checkpoint, tmp_path):
    from safetensors.numpy import load_file, save_file

    se_weights.save_pretrained(checkpoint, tmp_path / "ours")
    path = tmp_path / "ours" / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file(tensors, path)
    again = se_weights.read(tmp_path / "ours")
    assert again.preprocessing == replace(PREPROCESSING, classes="as published")
    assert again.weights_sha256 == checkpoint.weights_sha256


def test_a_folder_is_not_overwritten(checkpoint, tmp_path):
    se_weights.save_pretrained(checkpoint, tmp_path / "ours")
    with pytest.raises(TargetExists):
        se_weights.save_pretrained(checkpoint, tmp_path / "ours")
    se_weights.save_pretrained(checkpoint, tmp_path / "ours", force=True)


@pytest.mark.parametrize("framework", ["torch", "tf", "flax"])
def test_a_model_is_shared_with_its_preprocessing(checkpoint, tmp_path, framework):
    package = pytest.importorskip(f"se_{framework}")
    se_weights.write(checkpoint, tmp_path / "model.safetensors")
    package.save_pretrained(package.from_file(tmp_path / "model.safetensors"), tmp_path / "ours", licence="mit")
    model = package.from_file(tmp_path / "ours")
    assert se_weights.weights_sha256(package.read_weights(model)) == checkpoint.weights_sha256
    assert model.preprocessing == PREPROCESSING
    assert package.fold_batchnorm(model).preprocessing == PREPROCESSING
    assert package.optimize_for_inference(model).preprocessing == PREPROCESSING


@skip_without("torch")
def test_torch_hub_creates_the_networks():
    import torch

    repository = Path(__file__).parents[2]
    model = torch.hub.load(str(repository), "se_resnet20_cifar", source="local", num_classes=3)
    assert (model.architecture.name, model.architecture.num_classes) == ("se_resnet20_cifar", 3)
