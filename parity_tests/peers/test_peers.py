"""The code base of each dialect saves checkpoints, and all our models must give the same logits from them.

Run by `nox -s peers`; `EVERY_PEER=1 nox -s peers` also runs the deep networks.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import se_spec
import se_torch
import se_weights
from parity_tests.peers.update_published import read_table, recognised, updated
from parity_tests.support.tolerances import FLOAT32_LOGITS, FLOAT64_LOGITS
from se_images import preprocess
from se_parity import compare
from se_weights import AmbiguousArchitecture, AmbiguousDialect, Checkpoint
from se_weights.catalogue.published import TABLE, all_files, tensors_key
from se_weights.catalogue.unread import UNREAD
from se_weights.preprocessing import IMAGENET

TORCH_CASES = {
    "timm seresnet18": ("timm", "se_resnet18"),
    "timm seresnet34": ("timm", "se_resnet34"),
    "timm seresnet50": ("timm", "se_resnet50"),
    "timm seresnet101": ("timm", "se_resnet101"),
    "timm seresnet152": ("timm", "se_resnet152"),
    "timm seresnet152d": ("timm", "se_resnet152d"),
    "timm seresnext26d_32x4d": ("timm", "se_resnext26d"),
    "timm seresnext26t_32x4d": ("timm", "se_resnext26t"),
    "timm seresnext50_32x4d": ("timm", "se_resnext50_32x4d"),
    "timm seresnext101_32x4d": ("timm", "se_resnext101_32x4d"),
    "timm seresnext101_32x8d": ("timm", "se_resnext101_32x8d"),
    "timm seresnext101d_32x8d": ("timm", "se_resnext101d_32x8d"),
    "timm seresnext101_64x4d": ("timm", "se_resnext101_64x4d"),
    "timm senet154": ("timm", "senet154"),
    "timm resnet18": ("torch", "resnet18"),
    "timm resnet34": ("torch", "resnet34"),
    "timm resnet50": ("torch", "resnet50"),
    "timm resnet101": ("torch", "resnet101"),
    "timm resnet152": ("torch", "resnet152"),
    "timm resnext50_32x4d": ("torch", "resnext50_32x4d"),
    "timm resnet50d": ("timm", "resnet50d"),
    "timm seresnetaa50d": ("timm", "se_resnetaa50d"),
    "timm seresnextaa101d_32x8d": ("timm", "se_resnextaa101d_32x8d"),
    "timm resnetaa34d": ("timm", "resnetaa34d"),
    "timm resnetaa50": ("torch", "resnetaa50"),
    "timm resnetblur18": ("torch", "resnetblur18"),
    "timm resnetblur50d": ("timm", "resnetblur50d"),
    "timm resnetrs50": ("timm", "se_resnetrs50"),
    "timm resnetrs101": ("timm", "se_resnetrs101"),
    "timm ecaresnet50t": ("timm", "ecaresnet50t"),
    "timm ecaresnet101d": ("timm", "ecaresnet101d"),
    "timm ecaresnetlight": ("timm", "ecaresnetlight"),
    "timm ecaresnext26t_32x4d": ("timm", "ecaresnext26t_32x4d"),
    "timm legacy_seresnet18": ("cadene", "se_resnet18"),
    "timm legacy_seresnet34": ("cadene", "se_resnet34"),
    "timm legacy_seresnet50": ("cadene", "se_resnet50"),
    "timm legacy_seresnet101": ("cadene", "se_resnet101"),
    "timm legacy_seresnet152": ("cadene", "se_resnet152"),
    "timm legacy_seresnext26_32x4d": ("cadene", "se_resnext26_32x4d"),
    "timm legacy_seresnext50_32x4d": ("cadene", "se_resnext50_32x4d"),
    "timm legacy_seresnext101_32x4d": ("cadene", "se_resnext101_32x4d"),
    "timm legacy_senet154": ("cadene", "senet154"),
    "cadene se_resnet50": ("cadene", "se_resnet50"),
    "cadene se_resnet101": ("cadene", "se_resnet101"),
    "cadene se_resnet152": ("cadene", "se_resnet152"),
    "cadene se_resnext50_32x4d": ("cadene", "se_resnext50_32x4d"),
    "cadene se_resnext101_32x4d": ("cadene", "se_resnext101_32x4d"),
    "cadene senet154": ("cadene", "senet154"),
    "smp se_resnet50": ("cadene", "se_resnet50"),
    "smp se_resnet101": ("cadene", "se_resnet101"),
    "smp se_resnet152": ("cadene", "se_resnet152"),
    "smp se_resnext50_32x4d": ("cadene", "se_resnext50_32x4d"),
    "smp se_resnext101_32x4d": ("cadene", "se_resnext101_32x4d"),
    "smp senet154": ("cadene", "senet154"),
    "smp tu-seresnet50": ("timm", "se_resnet50"),
    "smp tu-seresnext26t_32x4d": ("timm", "se_resnext26t"),
    "smp resnet50": ("torch", "resnet50"),
    "smp se_resnet50@8": ("cadene", "se_resnet50:output_stride=8,dilates_first=true"),
    "smp resnet34@16": ("torch", "resnet34:output_stride=16,dilates_first=true"),
    "timm seresnet50@16": ("timm", "se_resnet50:output_stride=16"),
    "timm resnet18@8": ("torch", "resnet18:output_stride=8"),
    "torchvision resnet50@8": ("torch", "resnet50:output_stride=8"),
    "torchvision resnet18": ("torch", "resnet18"),
    "torchvision resnet34": ("torch", "resnet34"),
    "torchvision resnet50": ("torch", "resnet50"),
    "torchvision resnet101": ("torch", "resnet101"),
    "torchvision resnet152": ("torch", "resnet152"),
    "torchvision resnext50_32x4d": ("torch", "resnext50_32x4d"),
    "torchvision wide_resnet50_2": ("torch", "wide_resnet50_2"),
    "pytorchcv seresnet18": ("pytorchcv", "se_resnet18"),
    "pytorchcv seresnet34": ("pytorchcv", "se_resnet34"),
    "pytorchcv seresnet50": ("pytorchcv", "se_resnet50"),
    "pytorchcv seresnet50b": ("pytorchcv-b", "se_resnet50"),
    "pytorchcv seresnet101": ("pytorchcv", "se_resnet101"),
    "pytorchcv seresnet101b": ("pytorchcv-b", "se_resnet101"),
    "pytorchcv seresnet152": ("pytorchcv", "se_resnet152"),
    "pytorchcv seresnext50_32x4d": ("pytorchcv", "se_resnext50_32x4d"),
    "pytorchcv seresnext101_32x4d": ("pytorchcv", "se_resnext101_32x4d"),
    "pytorchcv senet16": ("pytorchcv", "unnamed"),
    "pytorchcv senet154": ("pytorchcv", "senet154"),
    "pytorchcv sepreresnet18": ("pytorchcv", "se_preresnet18"),
    "pytorchcv sepreresnet16": ("pytorchcv", "unnamed"),
    "pytorchcv sepreresnetbc26b": ("pytorchcv-b", "unnamed"),
    "pytorchcv sepreresnet50": ("pytorchcv", "se_preresnet50"),
    "pytorchcv sepreresnet50b": ("pytorchcv-b", "se_preresnet50"),
    "pytorchcv sepreresnet20_cifar10": ("pytorchcv", "se_preresnet20_cifar"),
    "pytorchcv sepreresnet164bn_cifar10": ("pytorchcv", "se_preresnet164bn_cifar"),
    "pytorchcv preresnet18": ("pytorchcv", "preresnet18"),
    "pytorchcv preresnet20_cifar10": ("pytorchcv", "unnamed"),
    "pytorchcv resneta18": ("pytorchcv", "resnet18d"),
    "pytorchcv resneta50b": ("pytorchcv", "resnet50d"),
    "pytorchcv resnetd50b": ("pytorchcv", "unnamed"),
    "pytorchcv seresnet20_cifar10": ("pytorchcv", "se_resnet20_cifar"),
    "pytorchcv seresnet56_cifar10": ("pytorchcv", "se_resnet56_cifar"),
    "pytorchcv seresnet110_cifar10": ("pytorchcv", "se_resnet110_cifar"),
    "pytorchcv seresnet164bn_cifar10": ("pytorchcv", "se_resnet164bn_cifar"),
    "monai SEResNet50": ("monai", "se_resnet50"),
    "monai SEResNet101": ("monai", "se_resnet101"),
    "monai SEResNet152": ("monai", "se_resnet152"),
    "monai SEResNeXt50": ("monai", "se_resnext50_32x4d"),
    "monai SEResNeXt101": ("monai", "se_resnext101_32x4d"),
    "monai SENet154": ("monai", "senet154"),
    "mmpretrain se-resnet50": ("mmpretrain", "se_resnet50"),
    "mmpretrain se-resnet101": ("mmpretrain", "se_resnet101"),
    "torchvision densenet121": ("torch", "densenet121"),
    "torchvision densenet161": ("torch", "densenet161"),
    "timm densenet201": ("torch", "densenet201"),
    "pytorchcv densenet121": ("pytorchcv", "densenet121"),
    "monai DenseNet121": ("monai", "densenet121"),
}
"""Code base and name of each model, and the dialect and the architecture that our reader must find."""

KERAS_CASES = {
    "qubvel seresnet18": ("qubvel", "se_preresnet18"),
    "qubvel seresnet34": ("qubvel", "se_preresnet34"),
    "qubvel resnet18": ("qubvel", "preresnet18"),
    "qubvel resnet50": ("qubvel", "preresnet50"),
    "qubvel seresnet50": ("qubvel", "se_resnet50"),
    "qubvel seresnet101": ("qubvel", "se_resnet101"),
    "qubvel seresnet152": ("qubvel", "se_resnet152"),
    "qubvel seresnext50": ("qubvel", "se_resnext50_32x4d"),
    "qubvel seresnext101": ("qubvel", "se_resnext101_32x4d"),
    "qubvel senet154": ("qubvel", "senet154"),
    "tfimm seresnet50": ("tfimm", "se_resnet50"),
    "tfimm seresnet152d": ("tfimm", "se_resnet152d"),
    "tfimm seresnext26d_32x4d": ("tfimm", "se_resnext26d"),
    "tfimm seresnext26t_32x4d": ("tfimm", "se_resnext26t"),
    "tfimm seresnext50_32x4d": ("tfimm", "se_resnext50_32x4d"),
}

DEFAULT_CASES = {
    "timm": [
        *("seresnet18", "seresnet50", "seresnext26d_32x4d", "seresnext26t_32x4d", "seresnext50_32x4d", "resnet50d"),
        *("resnetaa34d", "resnetblur18", "ecaresnext26t_32x4d"),
    ],
    "timm legacy": ["legacy_seresnet18", "legacy_seresnext26_32x4d"],
    "cadene": ["se_resnet50", "se_resnext50_32x4d"],
    "smp": ["se_resnet50", "tu-seresnext26t_32x4d"],
    "torchvision": ["resnet18", "resnext50_32x4d", "wide_resnet50_2"],
    "pytorchcv": [
        *("seresnet18", "seresnet50", "seresnet50b", "senet16", "seresnet20_cifar10", "seresnet164bn_cifar10"),
        *("sepreresnet18", "sepreresnet20_cifar10"),
    ],
    "monai": ["SEResNet50", "SEResNeXt50"],
    "mmpretrain": ["se-resnet50"],
    "qubvel": ["seresnet18", "seresnet50", "seresnext50"],
    "tfimm": ["seresnet50", "seresnext26d_32x4d", "seresnext26t_32x4d"],
}
"""Cases of every CI run: each setting of a code base in a shallow network. senet16 has the settings of SENet-154."""

EXPORTS = ["timm seresnet18", "timm seresnext26t_32x4d", "cadene se_resnet50", "torchvision resnext50_32x4d"]
EXPORTS += ["pytorchcv seresnet50b", "pytorchcv senet16", "monai SEResNet50", "mmpretrain se-resnet50"]

SIZES = {"full": (1, 3, 224, 224), "odd": (1, 3, 101, 67)}


def selected(cases):
    every = os.environ.get("EVERY_PEER")
    quick = {f"{peer.split()[0]} {name}" for peer, names in DEFAULT_CASES.items() for name in names}
    return [case for case in cases if every or case in quick]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Noise on slopes, which change under every flip, transpose and shift."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    slopes = {
        name: np.linspace(-1, 1, size[2])[:, None] - np.linspace(-0.5, 1, size[3]) for name, size in SIZES.items()
    }
    arrays = {name: (rng.normal(0, 0.8, SIZES[name]) + slope).astype(np.float32) for name, slope in slopes.items()}
    np.savez(path, **arrays)
    return path


def outputs_of(peers, case, images, weights: Path) -> dict[str, np.ndarray]:
    """Let the peer save its weights to the file; return its outputs."""
    outputs = weights.with_name("outputs.npz")
    peers.make(case=case, images=str(images), weights=str(weights), outputs=str(outputs))
    return dict(np.load(outputs))


def read_checked(expected, weights: Path) -> Checkpoint:
    """Read the checkpoint, and check its dialect and architecture, which the user names where no tensor shows it."""
    dialect, architecture = expected
    if ":" in architecture:
        return se_weights.read(weights, dialect=dialect, architecture=architecture)
    if architecture != "unnamed" and getattr(se_spec.architecture(architecture), "antialias", "none") != "none":
        return se_weights.read(weights, dialect=dialect, architecture=architecture)
    readings = se_weights.read_candidates(weights)
    if len(readings) > 1:
        with pytest.raises(AmbiguousDialect) as caught:
            se_weights.read(weights)
        assert list(caught.value.candidates) == ["pytorchcv", "pytorchcv-b"]
    try:
        checkpoint = se_weights.read(weights, dialect=dialect if len(readings) > 1 else None)
    except AmbiguousArchitecture as question:  # a network with the same tensors is published
        likely = next(iter(question.candidates))
        checkpoint = se_weights.read(weights, architecture=likely)
    assert (checkpoint.dialect, checkpoint.architecture.name) == (dialect, architecture)
    return checkpoint


def expect_same_logits(weights: Path, checkpoint: Checkpoint, images, theirs) -> None:
    """Check the logits in each framework, through `from_file`, at each size and each dtype that the peer has."""
    inputs = dict(np.load(images))
    for dtype, limit in (("float32", FLOAT32_LOGITS), ("float64", FLOAT64_LOGITS)):
        for framework, run in RUNS.items():
            logits = run(weights, checkpoint, dtype, list(inputs.values()))
            for number, ours in enumerate(logits):
                if f"{dtype} {number}" in theirs:
                    share = compare(theirs[f"{dtype} {number}"], ours).share
                    assert share <= limit, (framework, dtype, list(inputs)[number], share)


def run_torch(weights, checkpoint, dtype, images):
    model = se_torch.from_file(weights, dialect=checkpoint.dialect, architecture=checkpoint.architecture).to(
        getattr(torch, dtype)
    )
    with torch.inference_mode():
        return [model(torch.tensor(image.astype(dtype))).numpy() for image in images]


def run_tf(weights, checkpoint, dtype, images):
    import keras

    import se_tf

    keras.config.set_dtype_policy(dtype)
    try:
        model = se_tf.from_file(weights, dialect=checkpoint.dialect, architecture=checkpoint.architecture)
        return [np.asarray(model(np.moveaxis(image.astype(dtype), 1, -1), training=False)) for image in images]
    finally:
        keras.config.set_dtype_policy("float32")


def run_flax(weights, checkpoint, dtype, images):
    """`from_file` gives a float32 model; the same weights go into one of float64."""
    import jax
    from flax import nnx

    import se_flax
    from se_flax.weights import empty_model

    jax.config.update("jax_default_matmul_precision", "highest")
    with jax.enable_x64(dtype == "float64"):
        if dtype == "float64":
            model = empty_model(checkpoint.architecture, param_dtype=dtype)
            se_flax.load_weights(model, checkpoint.weights)
            model.eval()
        else:
            model = se_flax.from_file(weights, dialect=checkpoint.dialect, architecture=checkpoint.architecture)

        def run(model, x):
            return model(x)

        # Each layer of a DenseNet has shapes of its own; run eagerly, JAX compiles their operations one by one.
        call = nnx.jit(run) if checkpoint.architecture.family == "se_densenet" else run
        return [np.asarray(call(model, jax.numpy.asarray(np.moveaxis(image.astype(dtype), 1, -1)))) for image in images]


RUNS = {"torch": run_torch, "tf": run_tf, "flax": run_flax}


LAYERS = {
    *("AdaptiveAvgPool2d", "AvgPool2d", "BasicBlock", "BatchNorm2d", "Bottleneck", "Conv2d", "Flatten", "Identity"),
    *("Linear", "MaxPool2d", "ReLU", "ResNet", "SEBottleneck", "SEBlock", "SEModule", "SENet", "SEResNetBlock"),
    *("SEResNetBottleneck", "SEResNeXtBottleneck", "SelectAdaptivePool2d", "Sequential", "Sigmoid", "BlurPool2d"),
    *("FastAdaptiveAvgPool", "Dropout", "EcaModule", "Conv1d", "BatchNormAct2d"),
    *("DenseNet", "DenseBlock", "DenseLayer", "DenseTransition", "_DenseBlock", "_DenseLayer", "_Transition"),
    *("ConvBlock", "ResNet", "ResInitBlock", "ResUnit", "ResBlock", "ResBottleneck", "CIFARResNet"),
    *("ResNeXt", "ResNeXtUnit", "ResNeXtBottleneck", "CIFARResNeXt", "SEResNeXt", "SEResNeXtUnit"),
    *("SEInitBlock", "SEResNet", "SEResUnit", "CIFARSEResNet", "SENetUnit", "SENetBottleneck"),
    *("PreConvBlock", "PreResActivation", "PreResInitBlock", "PreResNet", "PreResUnit", "PreResBlock"),
    *("PreResBottleneck", "CIFARPreResNet", "CIFARWRN", "SEPreResNet", "SEPreResUnit", "CIFARSEPreResNet"),
    *("DenseUnit", "TransitionBlock", "CIFARDenseNet"),
}
"""The classes of layers in the networks of the code bases whose function is known here."""


def test_the_tables_of_published_files_are_what_the_torch_code_bases_list(torch_peers, tmp_path):
    _check_tables(torch_peers, tmp_path)


def test_the_tables_of_published_files_are_what_the_keras_code_bases_list(keras_peers, tmp_path):
    _check_tables(keras_peers, tmp_path)


def _check_tables(peers, tmp_path):
    """A new file of a code base, or one with another address, hash or preprocessing, makes this fail."""
    peers.make(published=str(tmp_path / "published.json"))
    listed = json.loads((tmp_path / "published.json").read_text())
    tables = read_table(TABLE), read_table(UNREAD)
    assert updated(*tables, listed, networks={}) == tables


def test_each_network_that_shares_tensors_with_a_published_one_computes_one_of_those_in_the_table(
    torch_peers, tmp_path
):
    """A release that brings a network with the tensors of another one makes this fail."""
    every = bool(os.environ.get("EVERY_PEER"))
    sources = ["timm", "torchvision", *(["pytorchcv"] if every else [])]
    torch_peers.make(networks=str(tmp_path / "networks.json"), sources=sources, every=every)
    rows = list(all_files())
    named = {f"{row.source} {row.name}": row for row in rows}
    found = dict.fromkeys(sources, 0)
    for name, network in json.loads((tmp_path / "networks.json").read_text()).items():
        match = recognised(name, network)
        if match is None:
            continue
        found[name.split()[0]] += 1
        twins = (
            [named[name]] if name in named else [row for row in rows if row.tensors == tensors_key(match.architecture)]
        )
        assert not twins or any(row.computes(match.architecture) for row in twins), name
        assert set(network["layers"]) <= LAYERS, name
    assert found["timm"] >= 90
    assert found["torchvision"] >= 14


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(
    ("side", "crop", "interpolation"), [(224, 0.875, "bilinear"), (288, 0.95, "bicubic"), (96, 1.0, "bicubic")]
)
def test_images_are_prepared_as_timm_prepares_them(torch_peers, tmp_path, mode, side, crop, interpolation):
    """Bit for bit, for 24 sizes of images; in the mode "center" the transform is that of torchvision's presets, too."""
    rng = np.random.default_rng(0)
    sizes = [(427, 640), (640, 427), (side, side), (side + 1, side - 1), (40, 500), (500, 40), (33, 47)]
    sizes += [tuple(map(int, rng.integers(20, 700, 2))) for _ in range(17)]
    images = {f"{height}x{width}": rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes}
    assert len(images) == 24
    np.savez(tmp_path / "images.npz", **images)
    transform = {"input_size": [3, side, side], "crop_pct": crop, "crop_mode": mode, "interpolation": interpolation}
    outputs = tmp_path / "outputs.npz"
    torch_peers.make(transform=transform, images=str(tmp_path / "images.npz"), outputs=str(outputs))
    preprocessing = replace(IMAGENET, size=side, crop=crop, crop_mode=mode, interpolation=interpolation)
    theirs = np.load(outputs)
    for size, image in images.items():
        np.testing.assert_array_equal(preprocess([image], preprocessing)[0], theirs[size], err_msg=size)


@pytest.mark.parametrize("case", selected(TORCH_CASES))
def test_a_torch_peers_file_gives_its_logits_in_every_framework(torch_peers, case, images, tmp_path):
    weights = tmp_path / "theirs.pth"
    theirs = outputs_of(torch_peers, case, images, weights)
    expect_same_logits(weights, read_checked(TORCH_CASES[case], weights), images, theirs)
    weights.unlink()


@pytest.mark.parametrize("case", selected(KERAS_CASES))
def test_a_keras_peers_file_gives_its_logits_in_every_framework(keras_peers, case, images, tmp_path):
    weights = tmp_path / ("theirs.model.h5" if case == "qubvel seresnext50" else "theirs.h5")
    theirs = outputs_of(keras_peers, case, images, weights)
    expect_same_logits(weights, read_checked(KERAS_CASES[case], weights), images, theirs)
    weights.unlink()


def test_a_torch_peer_opens_a_folder_that_we_write(torch_peers, images, tmp_path):
    """timm finds the name of the model in `config.json`."""
    first, last = tmp_path / "theirs.pth", tmp_path / "ours"
    theirs = outputs_of(torch_peers, "timm seresnet18", images, first)
    se_weights.save_pretrained(se_weights.read(first), last)
    outputs = tmp_path / "again.npz"
    torch_peers.make(folder=str(last), images=str(images), outputs=str(outputs))
    again = dict(np.load(outputs))
    assert all(np.array_equal(theirs[name], again[name]) for name in theirs)


@pytest.mark.parametrize("case", EXPORTS)
def test_a_torch_peer_loads_our_file_strictly_and_gives_the_same_logits(torch_peers, case, images, tmp_path):
    """Converted to Keras and back to the dialect of the peer, whose load_state_dict loads it with strict=True."""
    first, between, last = (tmp_path / name for name in ("theirs.pth", "ours.weights.h5", "again.pth"))
    theirs = outputs_of(torch_peers, case, images, first)
    dialect = {"torchvision": "torch"}.get(case.partition(" ")[0], TORCH_CASES[case][0])
    se_weights.convert(first, between, source_dialect=dialect)
    se_weights.convert(between, last, dialect=dialect)
    outputs = tmp_path / "again.npz"
    torch_peers.make(case=case, images=str(images), load=str(last), outputs=str(outputs))
    again = dict(np.load(outputs))
    assert all(np.array_equal(theirs[name], again[name]) for name in theirs)
