"""Checkpoints of other code bases: matching their tensor names and shapes, hidden config, wrappers, preprocessing."""

import pickle
from collections import OrderedDict
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import se_spec
import se_weights
from parity_tests.support.cases import ARCHITECTURES, architecture, skip_without
from se_parity import Oracle, sample_images, trained_like_weights
from se_spec import manifest, parameter_count
from se_weights import DIALECTS, AmbiguousDialect, Checkpoint, MalformedFile, UnsafeFile, WeightMismatch, weights_sha256
from se_weights.families.se_resnet import NAMING_SETTINGS, networks_by_names
from se_weights.preprocessing import CAFFE, IMAGENET, VGGFACE2
from se_weights.transforms.reorder import caffe_to_standard, rgb_input, standard_classes

LITTLE_DENSE = {"block_config": (2, 3, 1), "growth_rate": 4, "num_init_features": 12, "bn_size": 2, "num_classes": 3}
LITTLE = {"depths": (2, 2), "widths": (16, 32), "num_classes": 5}
DEEP = {"stem": {"kernel": 3, "inner": (8, 12)}}
GROUPED = {"groups": 4, "base_width": 16}
NETWORKS = {
    "basic": ("se_resnet18", {}),
    "bottleneck": ("se_resnet50", {}),
    "grouped": ("se_resnet50", GROUPED),
    "senet": ("se_resnet50", {**DEEP, **GROUPED, "reduce_first": 2, "base_width": 32, "shortcut": {"kernel": 3}}),
    "averaging": ("se_resnet50", {**DEEP, "shortcut": {"averages": True}}),
    "cifar": ("se_resnet18", {"stem": "3x3"}),
    "without SE": ("resnet50", {}),
    "shared norms": ("se_resnet50", {"shared_norms": True}),
    "shared norms, basic": ("se_resnet18", {"shared_norms": True}),
    "ResNet-RS": ("se_resnetrs50", {"stem": {"inner": (8, 12)}}),
    "norms first": ("se_preresnet50", {}),
    "norms first, cifar": ("se_preresnet18", {"stem": "3x3", "final_norm": False}),
    "norms first, without SE": ("preresnet18", {"stem": {"kernel": 3, "stride": 1, "pool": "none", "norm": False}}),
    "norms first, a norm of the images": ("se_preresnet18", {"input_norm": True, "shortcut": {"where": "stages"}}),
    "headless": ("se_resnet50", {"num_classes": 0}),
    "dense": ("densenet121", {}),
    "dense, small images": ("densenet121", {"stem": "3x3"}),
    "dense, a norm in a small stem": ("se_densenet121", {"stem": "3x3_norm"}),
    "dense, gated layers": ("se_densenet121", {"stem": "3x3"}),
    "dense, gated inputs": ("se_densenet121", {"se_places": ("input",)}),
    "dense, gated transitions": ("se_densenet121", {"se_places": ("input", "transition")}),
    "dense, gated blocks": ("se_densenet121", {"se_places": ("block", "transition")}),
    "dense, gated everywhere": ("se_densenet121", {"se_places": ("stem", "block", "input", "transition", "last")}),
    "dense, headless": ("se_densenet121", {"num_classes": 0}),
}


def in_dialect(dialect, network):
    """The architecture with the hidden config of the dialect's code base, or None where it has no such network."""
    name, settings = NETWORKS[network]
    sizes = LITTLE if "resnet" in name else LITTLE_DENSE
    plain = se_spec.architecture(name, **{**sizes, **settings, "reduction": 4})
    chosen = DIALECTS[dialect]
    if plain.family not in chosen.tables:
        return None
    shown = {
        field: plain.setting(field) for field in ("se", "se_places", "stem", "shared_norms") if field in vars(plain)
    }
    fixed_config = chosen.tables[plain.family].fixed_config_of(plain)
    if any(fixed_config.get(field, value) != value for field, value in shown.items()):
        return None
    completed = chosen.completed(plain.replace(**{**fixed_config, **shown}))
    return completed if completed and not chosen.why_unsupported(completed) else None


PAIRS = [pair for pair in product(DIALECTS, NETWORKS) if in_dialect(*pair)]


def distinct(architecture):
    """Weights whose values are all different."""
    count, weights = 1, {}
    for parameter in manifest(architecture):
        size = int(np.prod(parameter.shape))
        weights[parameter.name] = np.arange(count, count + size, dtype=np.uint32).view("f4").reshape(parameter.shape)
        count += size
    return Checkpoint(architecture, weights)


def test_every_dialect_is_tested_here():
    assert {dialect for dialect, _ in PAIRS} == set(DIALECTS)


@pytest.mark.parametrize(("dialect", "network"), PAIRS)
def test_every_architecture_survives_its_dialect_bit_for_bit(tmp_path, dialect, network):
    """With metadata, and from the tensors alone with the hidden config of the dialect."""
    checkpoint = distinct(in_dialect(dialect, network))
    path = tmp_path / "a.npz"
    se_weights.write(checkpoint, path, dialect=dialect)
    with_metadata = se_weights.read(path, dialect=dialect)
    assert with_metadata.architecture == checkpoint.architecture
    assert weights_sha256(with_metadata.weights) == weights_sha256(checkpoint.weights)
    bare = tmp_path / "b.npz"
    np.savez(bare, **dict(np.load(path)))
    alone = se_weights.read(bare, dialect=dialect)
    assert weights_sha256(alone.weights) == weights_sha256(checkpoint.weights)
    if not DIALECTS[dialect].carries_config:
        assert alone.architecture.function_key() == checkpoint.architecture.function_key()


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if "se_resnet" in DIALECTS[name].tables])
def test_a_dialect_names_exactly_the_settings_on_which_its_names_depend(dialect):
    declared = DIALECTS[dialect].tables["se_resnet"].names_depend_on
    names = networks_by_names(DIALECTS[dialect], declared).keys()
    assert names == networks_by_names(DIALECTS[dialect], tuple(NAMING_SETTINGS)).keys()
    for setting in declared:
        others = tuple(name for name in declared if name != setting)
        assert names != networks_by_names(DIALECTS[dialect], others).keys(), setting


SETTINGS = [case for case in ARCHITECTURES if case not in se_spec.list_architectures()]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_has_a_place_for_every_parameter_of_networks_that_its_code_base_lacks(dialect):
    """The metadata of a file may claim any network, which is then compared with the tensors in every dialect."""
    for case in SETTINGS:
        network = architecture(case)
        if network.family in DIALECTS[dialect].tables:
            assert DIALECTS[dialect].places(network).keys() == set(manifest(network))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"])
@pytest.mark.parametrize("dialect", ["cadene", "pytorchcv", "weiaicunzai", "nvidia", "qubvel", "timm"])
def test_hidden_config_is_kept_in_every_format(tmp_path, dialect, suffix):
    network = next(network for name, network in PAIRS if name == dialect)
    checkpoint = distinct(in_dialect(dialect, network))
    path = tmp_path / f"a{suffix}"
    se_weights.write(checkpoint, path)
    assert se_weights.read(path).architecture.function_key() == checkpoint.architecture.function_key()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"])
@pytest.mark.parametrize("name", ["se_resnet18", "senet154"])
def test_a_named_network_with_other_settings_keeps_them_in_every_format(tmp_path, name, suffix):
    """The named architectures have pad1 and no ReLU; Cadene's differ, and every file that we write must keep that."""
    known = DIALECTS["cadene"].completed(se_spec.architecture(name, se_bias=True, num_classes=3))
    known = known.replace(depths=(1, 1, 1, 1)) if name == "senet154" else known
    weights = {parameter.name: np.zeros(parameter.shape, np.float16) for parameter in manifest(known)}
    source, target = tmp_path / "a.npz", tmp_path / f"b{suffix}"
    se_weights.write(Checkpoint(known, weights), source, dialect="cadene")
    se_weights.convert(source, target)
    assert se_weights.read(target).architecture.function_key() == known.function_key()
    se_weights.convert(target, tmp_path / "c.npz", dialect="cadene")
    assert set(np.load(tmp_path / "c.npz").files) == set(np.load(source).files)


def small_pairs() -> list[object]:
    """The smallest network of each family of each dialect in every run, the others in the sweep."""
    seen: set[tuple[str, bool]] = set()
    cases = []
    for dialect, network in PAIRS:
        if network in ("basic", "bottleneck", "cifar") or "dense" in network:
            family = dialect, NETWORKS[network][0].endswith("densenet121")
            cases.append(pytest.param(dialect, network, marks=[pytest.mark.sweep] if family in seen else []))
            seen.add(family)
    return cases


@pytest.mark.parametrize(("dialect", "network"), small_pairs())
def test_a_wrong_tensor_is_the_only_one_listed(tmp_path, dialect, network):
    """A missing, an unexpected or a transposed tensor, or one of another shape; one at a time, anywhere."""
    known = in_dialect(dialect, network)
    if dialect == "pytorchcv-b":
        return
    chosen = DIALECTS[dialect]
    tensors = {name: np.zeros(shape, "f4") for name, shape in chosen.shapes(known).items()}
    rng = np.random.default_rng(0)
    first, *_, last = tensors
    names = [first, last, *rng.choice(list(tensors), 6, replace=False)]
    for name in map(str, names):
        array = tensors[name]
        corrupted = {"-": {key: value for key, value in tensors.items() if key != name}}
        corrupted["+"] = {**tensors, "extra.weight": array}
        if array.ndim > 1 and array.shape != array.T.shape:
            corrupted["! transposed"] = {**tensors, name: array.T}
        corrupted["! of another shape"] = {**tensors, name: np.zeros((*array.shape[:-1], array.shape[-1] + 3), "f4")}
        for fault, content in corrupted.items():
            path = tmp_path / "corrupted.npz"
            np.savez(path, **content)
            with pytest.raises(WeightMismatch) as caught:
                se_weights.read(path, dialect=dialect)
            expected = "extra.weight" if fault == "+" else name
            assert [line.split()[:2] for line in caught.value.differences] == [[fault[0], expected]], (name, fault)


HIDDEN = {  # the hidden config of each code base: dialect, network, settings
    "Cadene's 50": ("cadene", "bottleneck", ("conv1", "ceil", False, 1e-5)),
    "Cadene's grouped": ("cadene", "grouped", ("conv2", "ceil", False, 1e-5)),
    "timm's legacy 18": ("cadene", "basic", ("conv2", "ceil", True, 1e-5)),
    "Cadene's SENet": ("cadene", "senet", ("conv2", "ceil", False, 1e-5)),
    "MONAI's 50": ("monai", "bottleneck", ("conv1", "ceil", False, 1e-5)),
    "timm's 50": ("timm", "bottleneck", ("conv2", "pad1", False, 1e-5)),
    "timm's 18": ("timm", "basic", ("conv2", "pad1", False, 1e-5)),
    "pytorchcv's 50": ("pytorchcv", "bottleneck", ("conv1", "pad1", False, 1e-5)),
    "pytorchcv's 50b": ("pytorchcv-b", "bottleneck", ("conv2", "pad1", False, 1e-5)),
    "pytorchcv's grouped": ("pytorchcv", "grouped", ("conv2", "pad1", False, 1e-5)),
    "moskomule's 50": ("moskomule", "bottleneck", ("conv2", "pad1", False, 1e-5)),
    "VGGFace2's 50": ("vggface2", "bottleneck", ("conv1", "ceil", False, 1e-5)),
    "weiaicunzai's 18": ("weiaicunzai", "cifar", ("conv2", "none", True, 1e-5)),
    "qubvel's 50": ("qubvel", "bottleneck", ("conv1", "pad1", False, 9.999999747378752e-06)),
    "qubvel's grouped": ("qubvel", "grouped", ("conv2", "pad1", False, 9.999999747378752e-06)),
    "tfimm's 50": ("tfimm", "bottleneck", ("conv2", "pad1", False, 1e-5)),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_dialect_has_the_hidden_config_of_its_code_base(case):
    """Sources: the table of `shared/research/dialects.md`, section 1, and the code that the peer checks run."""
    dialect, network, settings = HIDDEN[case]
    known = in_dialect(dialect, network)
    assert (known.stride_in, known.stem.pool, known.squeeze.after_relu, known.bn_epsilon) == settings
    assert known.shortcut.averages is False


def test_pytorchcvs_seresnet50_and_50b_are_ambiguous_until_a_dialect_is_chosen(tmp_path):
    chosen = DIALECTS["pytorchcv"]
    known = chosen.completed(se_spec.architecture("se_resnet50", se_bias=True))
    tensors = {name: np.zeros(shape, "f4") for name, shape in chosen.shapes(known).items()}
    path, target = tmp_path / "seresnet50.npz", tmp_path / "a.safetensors"
    np.savez(path, **tensors)
    with pytest.raises(AmbiguousDialect) as caught:
        se_weights.read(path)
    assert list(caught.value.candidates) == ["pytorchcv", "pytorchcv-b"]
    assert "stride_in=conv1" in caught.value.candidates["pytorchcv"]
    assert "stride_in=conv2" in caught.value.candidates["pytorchcv-b"]
    assert se_weights.convert(path, target, dialect="pytorchcv-b").architecture.stride_in == "conv2"
    assert se_weights.read(target).architecture.stride_in == "conv2"
    again = tmp_path / "b.npz"
    se_weights.convert(path, again, source_dialect="pytorchcv", dialect="pytorchcv")
    assert set(np.load(again).files) == set(tensors)
    with pytest.raises(AmbiguousDialect):
        se_weights.convert(path, tmp_path / "c.npz", dialect="timm")


def published(block, depths, widths, *, stem, names, se, conv_bias=False, squeezed=lambda channels: channels // 16):
    """The shapes of a ResNet's state dict by key, written down from the source of its code base.

    `names` are patterns for the stem, the branch, the shortcut and the classifier. `se` are patterns for the two layers
    of the SE, whether they have biases, and the rank of their weights.
    """
    shapes = {}

    def convolution(path, norm, outputs, inputs, kernel, groups=1):
        shapes[f"{path}.weight"] = (outputs, inputs // groups, kernel, kernel)
        if conv_bias:
            shapes[f"{path}.bias"] = (outputs,)
        for word in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{word}"] = (outputs,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    convolution(*names["stem"], widths[0] if block[0] != "grouped" else 64, 3, stem)
    inputs = widths[0] if block[0] != "grouped" else 64
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        outputs = width * {"basic": 1, "bottleneck": 4, "grouped": 4}[block[0]]
        for index in range(depth):
            at = {"s": stage, "i": index}
            mid = width * 2 if block[0] == "grouped" else width
            sizes = {
                "basic": [(width, inputs, 3), (width, width, 3)],
                "bottleneck": [(mid, inputs, 1), (mid, mid, 3), (outputs, mid, 1)],
            }
            sizes["grouped"] = sizes["bottleneck"]
            for number, (out, into, kernel) in enumerate(sizes[block[0]], start=1):
                groups = 32 if block[0] == "grouped" and number == 2 else 1
                paths = (pattern(number).format(**at) for pattern in names["branch"])
                convolution(*paths, out, into, kernel, groups)
            if se:
                (down, up), biased, axes = se
                for path, (out, into) in ((down, (squeezed(outputs), outputs)), (up, (outputs, squeezed(outputs)))):
                    shapes[f"{path.format(**at)}.weight"] = (out, into, *[1] * (axes - 2))
                    if biased:
                        shapes[f"{path.format(**at)}.bias"] = (out,)
            if (stage > 1 and index == 0) or inputs != outputs:
                convolution(*(path.format(**at) for path in names["shortcut"]), outputs, inputs, 1)
            inputs = outputs
    classes, head = names["head"]
    shapes |= {f"{head}.weight": (classes, inputs), f"{head}.bias": (classes,)}
    return shapes


def torchvision_names(classes, prefix="", head="fc"):
    return {
        "stem": (f"{prefix}conv1", f"{prefix}bn1"),
        "branch": (
            lambda n: f"{prefix}layer{{s}}.{{i}}.conv{n}",
            lambda n: f"{prefix}layer{{s}}.{{i}}.bn{n}",
        ),
        "shortcut": (f"{prefix}layer{{s}}.{{i}}.downsample.0", f"{prefix}layer{{s}}.{{i}}.downsample.1"),
        "head": (classes, head),
    }


AT = "layer{s}.{i}"
SEQUENTIAL = (f"{AT}.se.fc.0", f"{AT}.se.fc.2")
WIDTHS = (64, 128, 256, 512)
RESIDUAL = {
    "stem": ("pre.0", "pre.1"),
    "branch": (
        lambda n: f"stage{{s}}.{{i}}.residual.{3 * (n - 1)}",
        lambda n: f"stage{{s}}.{{i}}.residual.{3 * (n - 1) + 1}",
    ),
    "shortcut": ("stage{s}.{i}.shortcut.0", "stage{s}.{i}.shortcut.1"),
    "head": (100, "linear"),
}
EXCITATION = (("stage{s}.{i}.excitation.0", "stage{s}.{i}.excitation.2"), True, 2)

PUBLISHED = {  # code that cannot be installed: shapes; dialect, name, non-default settings and parameter count
    "moskomule, January 2018 to December 2018": (
        published(
            ("bottleneck",), (3, 4, 6, 3), WIDTHS, stem=7, names=torchvision_names(1000), se=(SEQUENTIAL, True, 2)
        ),
        ("moskomule", "se_resnet50", {"stride_in": "conv2", "stem.pool": "pad1"}, 28_088_024),
    ),
    "moskomule, since": (
        published(
            ("bottleneck",), (3, 4, 6, 3), WIDTHS, stem=7, names=torchvision_names(1000), se=(SEQUENTIAL, False, 2)
        ),
        ("moskomule", "se_resnet50", {"squeeze.bias": False}, 28_071_976),
    ),
    "moskomule, until January 2018": (
        published(
            ("bottleneck",),
            (3, 4, 6, 3),
            WIDTHS,
            stem=7,
            names=torchvision_names(1000),
            se=(SEQUENTIAL, True, 2),
            squeezed=lambda channels: 16,
        ),
        ("moskomule", "se_resnet50", {"squeeze.rounding": "constant", "squeeze.reduction": 16}, 26_055_720),
    ),
    **{
        f"moskomule, CIFAR {6 * n + 2}": (
            published(
                ("basic",), (n,) * 3, (16, 32, 64), stem=3, names=torchvision_names(10), se=(SEQUENTIAL, False, 2)
            ),
            ("moskomule", f"se_resnet{6 * n + 2}_cifar", {"stem.stride": 1, "stem.pool": "none"}, None),
        )
        for n in (3, 5, 9)
    },
    "PytorchInsight SE-ResNet-101": (
        published(
            ("bottleneck",), (3, 4, 23, 3), WIDTHS, stem=7, names=torchvision_names(1000), se=(SEQUENTIAL, True, 2)
        ),
        ("moskomule", "se_resnet101", {"stride_in": "conv2"}, 49_326_872),
    ),
    "NVIDIA SE-ResNeXt-101": (
        published(
            ("grouped",),
            (3, 4, 23, 3),
            WIDTHS,
            stem=7,
            names=torchvision_names(1000),
            se=((f"{AT}.squeeze.squeeze", f"{AT}.squeeze.expand"), True, 2),
            squeezed=lambda channels: 16,
        ),
        ("nvidia", "se_resnext101_32x4d", {"squeeze.rounding": "constant", "groups": 32}, 45_251_128),
    ),
    "VGGFace2 senet50": (
        published(
            ("bottleneck",),
            (3, 4, 6, 3),
            WIDTHS,
            stem=7,
            names=torchvision_names(8631),
            se=((f"{AT}.conv4", f"{AT}.conv5"), True, 4),
        ),
        ("vggface2", "se_resnet50", {"stride_in": "conv1", "stem.pool": "ceil"}, 43_723_943),
    ),
    "weiaicunzai seresnet18": (
        published(("basic",), (2, 2, 2, 2), WIDTHS, stem=3, names=RESIDUAL, se=EXCITATION, conv_bias=True),
        (
            "weiaicunzai",
            "se_resnet18",
            {"conv_bias": True, "squeeze.after_relu": True, "stem.pool": "none"},
            11_314_012,
        ),
    ),
    "weiaicunzai seresnet50 before August 2020": (
        published(
            ("bottleneck",), (3, 4, 6, 3), (64, 128, 256, 516), stem=3, names=RESIDUAL, se=EXCITATION, conv_bias=True
        ),
        ("weiaicunzai", "unnamed", {"widths": [64, 128, 256, 516]}, None),
    ),
    "mmclassification of July 2020": (
        published(
            ("bottleneck",),
            (3, 4, 6, 3),
            WIDTHS,
            stem=7,
            names=torchvision_names(1000, "backbone.", "head.fc"),
            se=((f"backbone.{AT}.se_layer.conv1", f"backbone.{AT}.se_layer.conv2"), True, 4),
        ),
        ("mmpretrain-2020", "se_resnet50", {"stride_in": "conv2"}, 28_088_024),
    ),
}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("case", PUBLISHED)
def test_tensors_of_published_code_are_recognised(tmp_path, case, prefix):
    shapes, (dialect, name, settings, count) = PUBLISHED[case]
    path = tmp_path / "published.npz"
    np.savez(path, **{f"{prefix}{key}": np.zeros(shape, "f2") for key, shape in shapes.items()})
    checkpoint = se_weights.read(path)
    assert (checkpoint.dialect, checkpoint.architecture.name) == (dialect, name)
    for setting, value in settings.items():
        found = checkpoint.architecture.to_dict()
        for part in setting.split("."):
            found = found[part]
        assert found == value, setting
    if count:
        assert parameter_count(checkpoint.architecture) == count


def small_architecture(**settings):
    return se_spec.architecture("se_resnet18", depths=(1, 1), widths=(8, 16), reduction=4, **settings)


def cadene_tensors(num_classes=5):
    chosen = DIALECTS["cadene"]
    known = chosen.completed(small_architecture(num_classes=num_classes, se_bias=True))
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("f4") for name, shape in chosen.shapes(known).items()}


def test_an_encoder_is_extracted_from_a_unet_and_the_rest_is_reported(tmp_path):
    tensors = {f"encoder.{name}": tensor for name, tensor in cadene_tensors(0).items()}
    tensors |= {"decoder.blocks.0.weight": np.ones(3, "f4"), "segmentation_head.0.bias": np.ones(1, "f4")}
    np.savez(tmp_path / "unet.npz", **tensors)
    checkpoint = se_weights.read(tmp_path / "unet.npz")
    assert checkpoint.architecture.num_classes == 0
    assert checkpoint.metadata["unwrapped"] == "encoder."
    assert checkpoint.metadata["left"] == "decoder. segmentation_head."


@pytest.mark.parametrize("prefix", ["backbone.", "net.", "model.", "encoder.model.", "module.timm_model."])
def test_prefixes_of_larger_models_are_removed(tmp_path, prefix):
    np.savez(tmp_path / "a.npz", **{f"{prefix}{name}": tensor for name, tensor in cadene_tensors().items()})
    unwrapped = se_weights.read(tmp_path / "a.npz").metadata["unwrapped"]
    assert unwrapped.replace(" ", "") == prefix


@skip_without("torch")
@pytest.mark.parametrize("zipped", [True, False])
def test_old_layouts_of_torch_are_read_bit_for_bit(tmp_path, zipped):
    """Every SE checkpoint that was published before 2020 has the layout of torch before 1.6."""
    import torch

    tensors = cadene_tensors()
    state = OrderedDict((name, torch.tensor(tensor)) for name, tensor in tensors.items())
    state["layer0.bn1.num_batches_tracked"] = torch.tensor(3)
    shared = torch.cat([state["last_linear.bias"], state["last_linear.bias"]])
    state["last_linear.bias"] = shared[5:]
    training_state = {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3}
    for number, whole in enumerate((state, {"state_dict": state, **training_state}, {**state, **training_state})):
        path = tmp_path / f"{number}.pth"
        torch.save(whole, path, _use_new_zipfile_serialization=zipped)
        checkpoint = se_weights.read(path)
        for parameter, place in DIALECTS["cadene"].places(checkpoint.architecture).items():
            ours = se_weights.relayout(checkpoint.weights[parameter.name], parameter.axes, place.axes)
            assert ours.tobytes() == tensors[place.names[0]].tobytes()
    assert checkpoint.metadata["left"] == "optimizer"


@skip_without("torch")
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_of_the_old_layout_is_malformed(tmp_path, share):
    import torch

    path = tmp_path / "old.pth"
    state = {name: torch.tensor(tensor) for name, tensor in cadene_tensors().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MalformedFile, match="old"):
        se_weights.read(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_numpy_arrays_is_read_and_one_that_would_call_a_function_is_refused(tmp_path, protocol):
    """VGGFace2's port publishes such files, written by Python 2."""
    tensors = cadene_tensors()
    path = tmp_path / "senet50.pkl"
    path.write_bytes(pickle.dumps({**tensors, "note": np.float64(3)}, protocol))
    checkpoint = se_weights.read(path)
    assert np.array_equal(checkpoint.weights["fc.weight"], tensors["last_linear.weight"])

    class Run:
        def __reduce__(self):
            return print, ("ran",)

    path.write_bytes(pickle.dumps({"a": Run()}, protocol))
    with pytest.raises(UnsafeFile, match="print"):
        se_weights.read(path)


@skip_without("torch")
def test_a_torch_models_state_dict_carries_its_config(tmp_path):
    import torch

    import se_torch

    known = small_architecture(num_classes=3, stem={"pool": "ceil"}, squeeze={"after_relu": True})
    model = se_torch.SEResNet(known)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pth")
    assert se_weights.read(tmp_path / "a.pth").architecture == known
    model.fc = torch.nn.Linear(16, 7)
    torch.save(model.state_dict(), tmp_path / "b.pth")
    assert se_weights.read(tmp_path / "b.pth").architecture == known.replace(num_classes=7)
    assert list(torch.load(tmp_path / "b.pth", weights_only=True)) == list(model.state_dict())


def test_preprocessing_comes_with_the_dialect_and_is_kept_through_conversions(tmp_path):
    np.savez(tmp_path / "a.npz", **cadene_tensors())
    assert se_weights.read(tmp_path / "a.npz").preprocessing == IMAGENET
    se_weights.convert(tmp_path / "a.npz", tmp_path / "b.safetensors")
    se_weights.convert(tmp_path / "b.safetensors", tmp_path / "c.weights.h5")
    assert se_weights.read(tmp_path / "c.weights.h5").preprocessing == IMAGENET
    chosen = DIALECTS["vggface2"]
    known = chosen.completed(se_spec.architecture("se_resnet50", depths=(1,), widths=(16,), se_bias=True))
    np.savez(tmp_path / "d.npz", **{name: np.ones(shape, "f4") for name, shape in chosen.shapes(known).items()})
    assert se_weights.read(tmp_path / "d.npz").preprocessing == VGGFACE2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"mean": 3}', '{"mean": [1, 2, 3], "std": [1, 1, 1], "size": 4}'])
def test_invalid_preprocessing_in_a_file_is_malformed(tmp_path, text):
    known = small_architecture(num_classes=3)
    weights = {parameter.name: np.ones(parameter.shape, "f4") for parameter in manifest(known)}
    se_weights.write(Checkpoint(known, weights, metadata={"preprocessing": text}), tmp_path / "a.npz")
    with pytest.raises(MalformedFile, match="invalid preprocessing"):
        se_weights.read(tmp_path / "a.npz")


def test_preprocessing_gives_what_the_network_expects():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5))
    red = pixels[:, 0] / 255
    assert np.allclose(IMAGENET.apply(pixels, 255)[:, 0], (red - 0.485) / 0.229, atol=1e-6)
    assert np.allclose(CAFFE.apply(pixels, 255)[:, 2], pixels[:, 0] - 123.0)


def test_the_class_map_is_a_permutation_without_a_fixed_point():
    order = caffe_to_standard()
    assert sorted(order) == list(range(1000))
    assert (order != np.arange(1000)).all()
    assert order[489] == 65  # the first image of the validation set: hujie-frank/SENet, ILSVRC2017_val.txt


def test_reordering_channels_and_classes_gives_the_same_logits_in_the_other_order(tmp_path):
    known = small_architecture(num_classes=1000)
    checkpoint = Checkpoint(known, trained_like_weights(known), metadata={"preprocessing": CAFFE.text})
    images = sample_images(known, 2, 32, 35)
    before = Oracle(known, checkpoint.weights).logits(images)
    source, target = tmp_path / "bgr.safetensors", tmp_path / "rgb.safetensors"
    se_weights.write(checkpoint, source)
    se_weights.convert(source, target, changes=[rgb_input, standard_classes])
    changed = se_weights.read(target)
    after = Oracle(known, changed.weights).logits(images[:, ::-1])
    assert np.abs(after[:, caffe_to_standard()] - before).max() < 1e-12
    assert changed.preprocessing == replace(
        CAFFE, channels="RGB", mean=CAFFE.mean[::-1], std=CAFFE.std[::-1], classes="standard"
    )
    assert changed.metadata["reordered"] == "input channels from BGR to RGB; classes from caffe to standard"
    with pytest.raises(se_weights.UnsupportedFormat, match="done already"):
        rgb_input(changed)
