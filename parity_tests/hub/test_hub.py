"""Published weights by name and by address, fetched from a server on this machine; nothing needs the internet."""

import errno
import hashlib
import io
import json
import logging
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import se_hub
import se_weights
from parity_tests.support.loopback_hub import LoopbackHub
from se_hub import DownloadFailed, HubAddress, MissingFile, UnknownWeights, WrongContent, web
from se_parity.inputs.trained_like import trained_like_weights
from se_spec import architecture
from se_weights.catalogue.published import all_files
from se_weights.preprocessing import IMAGENET

pytest.importorskip("huggingface_hub", reason="needs the extra hub")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The hub, with the caches of this module; huggingface_hub reads the environment where it is imported."""
    folder = tmp_path_factory.mktemp("hub")
    with LoopbackHub() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
            patch.delitem(sys.modules, name)
        patch.setenv("HF_ENDPOINT", server.address)
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("SE_RESNET_CACHE", str(folder / "ours"))
        patch.setenv("no_proxy", "*")
        yield server
        for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
            del sys.modules[name]


@pytest.fixture(autouse=True)
def fresh(server):
    """A server that sends what it has, and has not been asked yet."""
    for collection in (server.gated, server.damaged, server.cut, server.requests):
        collection.clear()
    server.sent = 0


def seresnet18(seed: int = 0) -> se_weights.Checkpoint:
    network = architecture("se_resnet18", squeeze="round8", se_bias=True, num_classes=1000)
    return se_weights.Checkpoint(network, trained_like_weights(network, seed))


@pytest.fixture(scope="module")
def timm_files(tmp_path_factory) -> dict[str, bytes]:
    """The files of a repository of timm: config.json, and weights in its own names."""
    folder = tmp_path_factory.mktemp("timm")
    path = folder / "model.safetensors"
    se_weights.write(seresnet18(), path, dialect="timm")
    tensors = se_weights.read(path)
    config = {
        "architecture": "seresnet18",
        "num_classes": 1000,
        "pretrained_cfg": {
            "tag": "test_in1k",
            "input_size": [3, 176, 176],
            "interpolation": "bicubic",
            "crop_pct": 0.95,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "num_classes": 1000,
        },
    }
    assert tensors.architecture.name == "se_resnet18"
    return {"config.json": json.dumps(config).encode(), "model.safetensors": without_metadata(path)}


def without_metadata(path: Path) -> bytes:
    """A safetensors file as others write it, without what this project adds."""
    from safetensors.numpy import load_file, save

    return save(load_file(path))


@pytest.fixture
def repository(server, timm_files, request) -> str:
    """The name of a repository that no other test has."""
    name = f"owner/{hashlib.sha1(request.node.name.encode()).hexdigest()[:12]}"
    server.repositories[name] = {"main": dict(timm_files)}
    return name


def test_the_first_call_downloads_and_the_second_one_does_not(server, repository, timm_files, caplog):
    with caplog.at_level(logging.WARNING, "se_hub"):
        path = se_hub.fetch(f"hf://{repository}")
    assert path.read_bytes() == timm_files["model.safetensors"]
    assert server.sent == sum(map(len, timm_files.values()))
    assert "Licence: not known here" in caplog.text
    caplog.clear()
    assert se_hub.fetch(f"hf://{repository}") == path
    assert server.sent == sum(map(len, timm_files.values()))
    assert caplog.text == ""


def test_a_repository_of_timm_is_read_as_its_config_says(repository):
    checkpoint = se_hub.read(f"hf://{repository}")
    assert checkpoint.architecture == seresnet18().architecture
    assert checkpoint.preprocessing == replace(IMAGENET, size=176, interpolation="bicubic", crop=0.95)
    assert se_weights.weights_sha256(checkpoint.weights) == seresnet18().weights_sha256


def test_the_second_reading_is_of_the_converted_copy(server, repository, monkeypatch):
    first = se_hub.read(f"hf://{repository}")
    read = se_weights.read
    paths = []
    monkeypatch.setattr(se_weights, "read", lambda path, **options: paths.append(path) or read(path, **options))
    again = se_hub.read(f"hf://{repository}")
    assert [path.parent.name for path in paths] == ["converted"]
    assert again.preprocessing == first.preprocessing
    assert again.weights_sha256 == first.weights_sha256
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    assert se_hub.read(f"hf://{repository}").weights_sha256 == first.weights_sha256


def test_what_is_cached_is_read_without_the_hub(server, repository, monkeypatch):
    import huggingface_hub.constants

    path = se_hub.fetch(f"hf://{repository}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    asked = len(server.requests)
    assert se_hub.fetch(f"hf://{repository}") == path
    assert len(server.requests) == asked
    with pytest.raises(DownloadFailed, match="not in the cache"):
        se_hub.fetch("hf://owner/never-fetched")


def test_a_repository_without_a_config_is_read_offline_too(server, repository, timm_files, monkeypatch):
    import huggingface_hub.constants

    server.repositories[repository] = {"main": {"model.safetensors": timm_files["model.safetensors"]}}
    path = se_hub.fetch(f"hf://{repository}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert se_hub.fetch(f"hf://{repository}") == path


def test_a_revision_is_fetched_by_its_name(server, repository, timm_files):
    server.repositories[repository] = {"main": {}, "v1": dict(timm_files)}
    assert se_hub.fetch(f"hf://{repository}@v1").read_bytes() == timm_files["model.safetensors"]
    with pytest.raises(MissingFile, match="no such revision"):
        se_hub.fetch(f"hf://{repository}@v2")


def test_a_file_of_a_repository_is_fetched_by_its_name(server, repository, timm_files):
    server.repositories[repository] = {"main": {"fine/tuned.safetensors": timm_files["model.safetensors"]}}
    assert se_hub.fetch(f"hf://{repository}/fine/tuned.safetensors").name == "tuned.safetensors"
    with pytest.raises(MissingFile, match=r"has none of model\.safetensors"):
        se_hub.fetch(f"hf://{repository}")
    with pytest.raises(MissingFile, match="no such file"):
        se_hub.fetch(f"hf://{repository}/other.safetensors")


def test_shards_are_fetched_with_their_index(server, repository, tmp_path, timm_files):
    se_weights.write(seresnet18(), tmp_path / "model.hf", dialect="timm", shard_bytes=10**7)
    files = {each.name: each.read_bytes() for each in (tmp_path / "model.hf").iterdir()}
    assert len(files) > 3
    server.repositories[repository] = {"main": files}
    assert se_hub.read(f"hf://{repository}").weights_sha256 == seresnet18().weights_sha256


def test_a_missing_repository_and_a_gated_one_are_named(server, repository):
    with pytest.raises(MissingFile, match="no such repository"):
        se_hub.fetch("hf://owner/renamed")
    server.gated.add(repository)
    with pytest.raises(DownloadFailed, match="accept its terms"):
        se_hub.fetch(f"hf://{repository}")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_one_changed_byte_is_refused_and_removed(server, repository, timm_files, name):
    server.damaged.add(name)
    with pytest.raises(WrongContent, match="is not the file of the hub"):
        se_hub.fetch(f"hf://{repository}")
    server.damaged.clear()
    assert se_hub.fetch(f"hf://{repository}").read_bytes() == timm_files["model.safetensors"]


def test_a_file_that_was_changed_in_the_cache_is_refused(server, repository, timm_files):
    path = se_hub.fetch(f"hf://{repository}")
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(timm_files["model.safetensors"][:-1] + b"?")
    with pytest.raises(WrongContent, match="It was removed"):
        se_hub.fetch(f"hf://{repository}")
    assert not blob.exists()


def test_a_connection_that_is_cut_is_an_error(server, repository, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.repositories[repository] = {"main": {"model.safetensors": b"weights" * 1000}}
    server.cut.add("model.safetensors")
    with pytest.raises(DownloadFailed):
        se_hub.fetch(f"hf://{repository}")


@pytest.mark.parametrize("text", ["hf://owner", "hf://owner/name/../x", "hf://a/b@", "hf://-a/b", "owner/name"])
def test_an_address_of_another_form_is_named(text):
    with pytest.raises(UnknownWeights, match="is not an address of the form"):
        HubAddress.parse(text)


@pytest.mark.parametrize(
    "text", ["hf://owner/name", "hf://o/n.a1_in1k@v1", "hf://o/n@main/folder/file.bin", "hf://o/n/f"]
)
def test_an_address_is_parsed_and_written_alike(text):
    assert str(HubAddress.parse(text)) == text


# ---------------------------------------------------------------------------------------------------- other hosts


def plain_row(server, content: bytes, name: str, **changes):
    """A row of the catalogue whose file the server has."""
    server.files[name] = content
    row = next(row for row in all_files() if row.source == "torchvision" and row.name == "resnet18")
    digits = hashlib.sha256(content).hexdigest()[:8]
    return replace(row, url=f"{server.address}/{name}", digits=digits, **changes)


def test_a_file_of_another_host_is_kept_if_it_has_its_hash(server):
    row = plain_row(server, b"weights" * 1000, "resnet18-a.pth")
    path = se_hub.fetch_published(row)
    assert path.read_bytes() == b"weights" * 1000
    asked = len(server.requests)
    assert se_hub.fetch_published(row) == path
    assert len(server.requests) == asked


def test_a_file_of_another_host_with_another_hash_is_refused_and_removed(server):
    row = plain_row(server, b"weights" * 1001, "resnet18-b.pth")
    server.damaged.add("resnet18-b.pth")
    with pytest.raises(WrongContent, match="the catalogue says"):
        se_hub.fetch_published(row)
    assert not list((web.cache_folder() / "files" / row.digits).iterdir())


def test_a_file_of_another_host_that_is_cut_is_an_error(server):
    row = plain_row(server, b"weights" * 1002, "resnet18-c.pth")
    server.cut.add("resnet18-c.pth")
    with pytest.raises(DownloadFailed, match=r"sent|failed"):
        se_hub.fetch_published(row)
    assert not list((web.cache_folder() / "files" / row.digits).iterdir())


def test_a_host_that_has_no_such_file_is_an_error(server):
    row = replace(plain_row(server, b"x", "d.pth"), url=f"{server.address}/none.pth")
    with pytest.raises(DownloadFailed, match="404"):
        se_hub.fetch_published(row)


def test_an_archive_of_one_file_is_extracted_and_the_hash_is_that_of_the_file(server):
    content, archive = b"weights" * 999, io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("resnet10-1253-x.pth", content)
    row = plain_row(server, archive.getvalue(), "resnet10-1253-x.pth.zip")
    row = replace(row, hash_algorithm="sha1", digits=hashlib.sha1(content).hexdigest())
    path = se_hub.fetch_published(row)
    assert path.name == "resnet10-1253-x.pth"
    assert path.read_bytes() == content


def archive_of(*names: str, damaged: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as writer:
        for name in names:
            writer.writestr(name, b"weights" * 999)
    content = bytearray(file.getvalue())
    if damaged:
        content[50:60] = bytes(10)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [b"no archive", archive_of("one", "two"), archive_of(), archive_of("one", damaged=True)],
    ids=["no archive", "two files", "no file", "damaged"],
)
def test_an_archive_that_does_not_hold_one_whole_file_is_refused(server, content, request):
    row = plain_row(server, content, f"resnet10-{request.node.callspec.id.replace(' ', '-')}.pth.zip")
    with pytest.raises(WrongContent, match="not an archive of one file"):
        se_hub.fetch_published(row)


def test_a_full_disk_is_not_taken_for_a_failed_download(server, monkeypatch):
    row = plain_row(server, b"weights" * 1004, "resnet18-f.pth")

    def full(url, file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(web, "_download", full)
    with pytest.raises(OSError, match="No space left"):
        se_hub.fetch_published(row)
    assert not list((web.cache_folder() / "files" / row.digits).iterdir())


def test_an_address_outside_the_catalogue_is_not_fetched(server):
    with pytest.raises(UnknownWeights, match="cannot be checked"):
        se_hub.fetch(f"{server.address}/a.pth")


def test_a_licence_that_forbids_commercial_use_is_said(server, caplog):
    row = plain_row(server, b"weights" * 1003, "resnet18-e.pth", licence="cc-by-nc-4.0")
    with caplog.at_level(logging.WARNING, "se_hub"):
        se_hub.fetch_published(row)
    assert "cc-by-nc-4.0; it does not allow commercial use" in caplog.text


# ------------------------------------------------------------------------------------------------------- by name


def test_each_file_of_the_catalogue_is_found_by_its_name():
    for row in se_hub.pretrained_files():
        assert se_hub.find_pretrained(row.architecture.name, se_hub.identity(row)) == row


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("se_resnet50", "timm/seresnet50.a1_in1k"),
        ("se_resnet152", "timm/legacy_seresnet152.in1k"),
        ("resnet50", "timm/resnet50.a1_in1k"),
        ("densenet121", "timm/densenet121.ra_in1k"),
        ("se_preresnet18", "pytorchcv/sepreresnet18.in1k"),
    ],
)
def test_the_default_weights_are_those_of_the_preferred_code_base(name, weights):
    assert se_hub.identity(se_hub.find_pretrained(name)) == weights


def test_a_tag_that_several_code_bases_have_is_asked_about():
    with pytest.raises(UnknownWeights, match=r"has several weights 'in1k'; there are .*pytorchcv/seresnet50"):
        se_hub.find_pretrained("se_resnet50", "in1k")
    with pytest.raises(UnknownWeights, match=r"se_resnet50 has no weights 'none'; there are .*a1_in1k"):
        se_hub.find_pretrained("se_resnet50", "none")
    with pytest.raises(UnknownWeights, match="no code base publishes weights of 'se_densenet264'"):
        se_hub.find_pretrained("se_densenet264")


def test_networks_without_a_name_need_the_name_of_their_weights():
    with pytest.raises(UnknownWeights, match="networks without a name here: name the weights"):
        se_hub.find_pretrained("unnamed")
    assert se_hub.find_pretrained("unnamed", "timm/resnet10t.c3_in1k").name == "resnet10t"


@pytest.fixture
def published(server, repository, monkeypatch, timm_files):
    """A published file of the loopback hub: the only one that there is."""
    row = next(row for row in all_files() if row.name == "seresnet50" and row.source == "timm")
    row = replace(
        row, name="seresnet18", tag="test_in1k", architecture=seresnet18().architecture, repository=repository
    )
    row = replace(row, preprocessing=replace(IMAGENET, size=176, interpolation="bicubic", crop=0.95))
    for module in ("se_hub.pretrained", "se_hub.retrieval"):
        monkeypatch.setattr(f"{module}.all_files", lambda: [row])
    return row


@pytest.mark.parametrize("framework", ["torch", "tf", "flax"])
def test_a_model_is_created_with_its_published_weights(published, framework):
    package = pytest.importorskip(f"se_{framework}")
    model = package.create_model("se_resnet18", pretrained=True)
    assert se_weights.weights_sha256(package.read_weights(model)) == seresnet18().weights_sha256
    assert model.preprocessing == published.preprocessing
    fine_tuned = package.create_model("se_resnet18", pretrained="test_in1k", num_classes=7, in_channels=1)
    assert fine_tuned.architecture.num_classes == 7
    weights = package.read_weights(fine_tuned)
    kernel = seresnet18().weights["conv1.weight"]
    np.testing.assert_array_equal(weights["conv1.weight"], kernel.astype(np.float64).sum(1, keepdims=True).astype("f4"))
    np.testing.assert_array_equal(weights["layer4.1.conv2.weight"], seresnet18().weights["layer4.1.conv2.weight"])
    assert weights["fc.weight"].shape == (7, 512)


def test_settings_of_training_are_taken_over_and_others_must_be_those_of_the_weights(published):
    checkpoint = se_hub.read_pretrained("se_resnet18", True, {"drop_path": 0.1, "se_bias": True})
    assert checkpoint.architecture.drop_path == 0.1
    with pytest.raises(UnknownWeights, match=r"squeeze\.bias is True, not False"):
        se_hub.read_pretrained("se_resnet18", True, {"se_bias": False})
    with pytest.raises(UnknownWeights, match="zero_init_residual"):
        se_hub.read_pretrained("se_resnet18", True, {}, zero_init_residual=True)


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_a_stem_of_other_images_is_adapted_as_timm_does(published, channels):
    """timm 1.0.31, models/_manipulate.py: repeated, cut, and scaled by 3 / channels."""
    adapted = se_hub.read_pretrained("se_resnet18", True, {"in_channels": channels})
    kernel = seresnet18().weights["conv1.weight"].astype(np.float64)
    repeated = np.concatenate([kernel, kernel], axis=1)[:, :channels] * 3 / channels
    np.testing.assert_allclose(adapted.weights["conv1.weight"], repeated, rtol=1e-6)
    assert adapted.architecture.in_channels == channels
    assert f"repeated for {channels} channels" in adapted.metadata["adapted"]


def test_the_differences_are_those_from_the_published_network(published, server, repository, timm_files):
    from safetensors.numpy import load, save

    tensors = load(timm_files["model.safetensors"])
    server.repositories[repository] = {"main": {"model.safetensors": save({**tensors, "more": tensors["fc.bias"]})}}
    with pytest.raises(se_weights.WeightMismatch) as caught:
        se_hub.read_pretrained("se_resnet18", True, {})
    assert caught.value.differences == ("+ more (1000,)",)


def test_a_backbone_without_its_classifier_is_read(published, server, repository, timm_files, monkeypatch):
    from safetensors.numpy import load, save

    tensors = load(timm_files["model.safetensors"])
    backbone = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    server.repositories[repository] = {"main": {"model.safetensors": save(backbone)}}
    assert se_hub.read_pretrained("se_resnet18", True, {}).architecture.num_classes == 0


def test_the_environment_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("SE_RESNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert web.cache_folder() == tmp_path / "se-resnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert web.cache_folder() == Path.home() / ".cache" / "se-resnet"
