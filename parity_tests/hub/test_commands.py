"""`se-resnet predict`, `download`, `list --pretrained` and addresses in the place of files, on the loopback hub."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import se_images
import se_weights
from parity_tests.support.cases import skip_without
from parity_tests.support.loopback_hub import LoopbackHub
from se_parity.inputs.trained_like import trained_like_weights
from se_spec import architecture
from se_weights.preprocessing import IMAGENET

pytest.importorskip("huggingface_hub", reason="needs the extra hub")
Image = pytest.importorskip("PIL.Image", reason="needs the extra images")

ADDRESS = "hf://owner/se_resnet18"
NETWORK = architecture("se_resnet18", widths=(8, 16, 24, 32), reduction=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with two images, and a file of weights that says how images are prepared."""
    folder = tmp_path_factory.mktemp("predict")
    metadata = {"preprocessing": IMAGENET.text}
    checkpoint = se_weights.Checkpoint(NETWORK, trained_like_weights(NETWORK), metadata=metadata)
    se_weights.write(checkpoint, folder / "model.safetensors")
    lanczos = {"preprocessing": replace(IMAGENET, interpolation="lanczos").text}
    se_weights.write(replace(checkpoint, metadata=lanczos), folder / "lanczos.safetensors")
    se_weights.write(se_weights.adapt_in_channels(checkpoint, 1), folder / "grey.safetensors")
    rng = np.random.default_rng(0)
    for name, size in (("one.png", (300, 260, 3)), ("two.jpg", (100, 333, 3))):
        pixels = np.cumsum(rng.integers(-9, 10, size), axis=0) + 128
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with LoopbackHub() as server:
        content = (folder / "model.safetensors").read_bytes()
        server.repositories["owner/se_resnet18"] = {"main": {"model.safetensors": content}}
        yield server


@pytest.fixture
def se_resnet(folder, server):
    """Runs the command in the folder, with the loopback hub for Hugging Face's."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(folder / "hf"),
        "SE_RESNET_CACHE": str(folder / "ours"),
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "*",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "se_cli", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@skip_without("torch")
@skip_without("tf")
@skip_without("flax")
def test_an_image_is_predicted_alike_in_every_framework(se_resnet, folder):
    ran = se_resnet("predict", ADDRESS, "one.png", "two.jpg", "--framework", "torch,keras,flax", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["agree"]
    for image in result["images"]:
        found = [[each["class"] for each in predictions] for predictions in image["predictions"].values()]
        assert found[0] == found[1] == found[2]
        shares = [[each["probability"] for each in predictions] for predictions in image["predictions"].values()]
        np.testing.assert_allclose(shares[1:], [shares[0]] * 2, rtol=1e-4)


@skip_without("torch")
def test_the_predictions_are_those_of_the_model(se_resnet, folder):
    import se_torch

    ran = se_resnet("predict", "model.safetensors", "two.jpg", "--top", "2", "--json")
    (image,) = json.loads(ran.stdout)["images"]
    model = se_torch.from_file(folder / "model.safetensors")
    model.train()
    ((first, second),) = se_images.predict(model, [folder / "two.jpg"], top=2)
    assert model.training
    assert [each["name"] for each in image["predictions"]["torch"]] == [first.label.name, second.label.name]
    assert image["predictions"]["torch"][0]["probability"] == pytest.approx(first.probability)


@skip_without("torch")
def test_the_page_shows_every_image_and_class(se_resnet, folder):
    pytest.importorskip("jinja2")
    ran = se_resnet("predict", "model.safetensors", "one.png", "two.jpg", "--report", "out.html")
    assert ran.returncode == 0, ran.stderr
    page = (folder / "out.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("<img ") == page.count(" alt=")
    for name in ("one.png", "two.jpg"):
        assert f"<h2>{name}</h2>" in page
    assert se_resnet("predict", "model.safetensors", "one.png", "--report", "out.html").returncode == 6
    assert (folder / "out.html").read_text() == page


REFUSED = [
    (("predict", "model.safetensors", "none.png"), 6, "none.png"),
    (("predict", "model.safetensors", "model.safetensors"), 3, "is not an image"),
    (("predict", "model.safetensors"), 2, "Missing argument"),
    (("predict", "grey.safetensors", "one.png"), 2, "takes images of 1 channels"),
    (("predict", "lanczos.safetensors", "one.png"), 5, "and not by 'lanczos'"),
    (("predict", "model.safetensors", "one.png", "--force"), 2, "name it with --report"),
    (("predict", "se_resnet51", "one.png"), 2, "no code base publishes weights of 'se_resnet51'"),
    (("predict", "se_resnet50:nothing", "one.png"), 2, "timm/seresnet50.a1_in1k"),
    (("predict", "se_resnet50", "one.png", "--dialect", "timm"), 2, "is no file"),
    (("predict", "model.safetensors", "one.png", "--framework", "mxnet"), 2, "not one of torch, tf, flax"),
    (("predict", "hf://owner/none", "one.png"), 6, "no such repository"),
    (("inspect", "hf://owner"), 2, "not an address of the form"),
    (("inspect", "https://example.org/model.pth"), 2, "cannot be checked"),
    (("download", "se_resnet51"), 2, "no code base publishes"),
]


@pytest.mark.parametrize(("arguments", "status", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_done_is_said_with_its_status(se_resnet, arguments, status, said):
    ran = se_resnet(*arguments)
    assert ran.returncode == status, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


@skip_without("torch")
def test_weights_without_a_preprocessing_need_one(se_resnet, folder):
    se_weights.write(se_weights.Checkpoint(NETWORK, trained_like_weights(NETWORK)), folder / "bare.safetensors")
    ran = se_resnet("predict", "bare.safetensors", "one.png")
    assert ran.returncode == 2
    assert "--preprocessing" in ran.stderr
    assert se_resnet("predict", "bare.safetensors", "one.png", "--preprocessing", "imagenet").returncode == 0


def test_an_address_takes_the_place_of_a_file(se_resnet, folder, server):
    ran = se_resnet("convert", ADDRESS, "copy.npz")
    assert ran.returncode == 0, ran.stderr
    assert se_resnet("compare", ADDRESS, "copy.npz").returncode == 0
    inspected = json.loads(se_resnet("inspect", ADDRESS, "--json").stdout)
    assert (
        inspected["architecture"]["name"]
        == json.loads(se_resnet("inspect", "copy.npz", "--json").stdout)["architecture"]["name"]
    )


def test_a_list_of_a_batch_may_have_addresses(se_resnet, folder, server):
    (folder / "list.txt").write_text(f"{ADDRESS}\nhf://owner/absent\nlanczos.safetensors\n")
    ran = se_resnet("convert", "--batch", "list.txt", "converted", "--to", ".npz", "--json")
    assert ran.returncode == 6, ran.stderr
    results = [json.loads(line) for line in (folder / "converted" / "results.jsonl").read_text().splitlines()]
    assert [each["source"] for each in results] == [ADDRESS, "hf://owner/absent", "lanczos.safetensors"]
    assert [each["status"] for each in results] == [0, 6, 0]
    assert se_resnet("compare", "converted/se_resnet18.npz", "model.safetensors").returncode == 0
    written = (folder / "converted" / "se_resnet18.npz").stat().st_ino
    server.requests.clear()
    again = se_resnet("convert", "--batch", "list.txt", "converted", "--to", ".npz", "--resume", "--json")
    assert again.returncode == 6
    assert (folder / "converted" / "se_resnet18.npz").stat().st_ino == written
    assert not any(request.startswith("GET") and "se_resnet18" in request for request in server.requests)


def test_a_download_says_where_the_file_lies(se_resnet, folder):
    result = json.loads(se_resnet("download", ADDRESS, "--json").stdout)
    content = Path(result["path"]).read_bytes()
    assert (
        hashlib.sha256(content).hexdigest() == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    )


def test_published_weights_are_listed_with_their_licences(se_resnet):
    listed = json.loads(se_resnet("list", "--pretrained", "se_resnet50", "--json").stdout)["weights"]
    first = next(each for each in listed if each["weights"] == "timm/seresnet50.a1_in1k")
    assert first == {
        "architecture": "se_resnet50",
        "weights": "timm/seresnet50.a1_in1k",
        "default": True,
        "source": "timm",
        "address": "hf://timm/seresnet50.a1_in1k",
        "licence": "apache-2.0",
        "image_size": 224,
        "num_classes": 1000,
        "top_1": "",
    }
    assert listed[0] == first
    assert "no published weights match" in se_resnet("list", "--pretrained", "nothing*").stdout
