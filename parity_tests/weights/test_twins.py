"""Published networks that have the same tensors and compute different functions: known, asked about, or noted."""

import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import se_weights
from parity_tests.support.cases import small_network
from parity_tests.support.isolated_process import se_resnet
from se_parity.inputs.open_case import open_case
from se_spec import Architecture, architecture, manifest
from se_weights.catalogue.cells import decode, encode
from se_weights.catalogue.published import all_files, file_hash, tensors_key, with_tensors_of
from se_weights.dialects import DIALECTS
from se_weights.errors import AmbiguousArchitecture, AmbiguousDialect, UnsupportedFormat, WeightsError
from se_weights.reading.architecture_text import format_architecture, parse_architecture
from se_weights.reading.model_config import ModelConfig, read_model_config
from se_weights.reading.recognition import recognise_all
from se_weights.reading.twins import Decision, decide

FILES = list(all_files())
UNKNOWN = "0" * 64
ANTI_ALIASED = ["seresnextaa101d_32x8d", "resnetaa50", "resnetblur50", "resnetaa50d", "resnetaa101d"]


def published(name: str, tag: str = "", source: str = "timm"):
    return next(row for row in FILES if (row.name, row.source) == (name, source) and tag in ("", row.tag))


def decision(row, *, path="weights.pth", names=(), settings=None, sha256=UNKNOWN, dialect=None) -> Decision:
    """What a file with the tensors of a published network is read as."""
    known = DIALECTS[row.dialect]
    dialects = [
        each for each in DIALECTS.values() if each.framework == known.framework and dialect in (None, each.name)
    ]
    matches = recognise_all("file", known.shapes(row.architecture), dialects)
    return decide(Path(path), matches, ModelConfig(frozenset(names), settings or {}), lambda: sha256, dialect)


@pytest.mark.parametrize("name", ANTI_ALIASED)
def test_a_file_of_an_anti_aliased_network_is_asked_about_and_each_answer_is_a_network(name):
    row = published(name)
    with pytest.raises(AmbiguousArchitecture) as caught:
        decision(row)
    first, *others = caught.value.candidates
    assert recognised(row, first).antialias == "none"
    assert row.architecture.name in others
    assert recognised(row, row.architecture.name).function_key() == row.architecture.function_key()
    assert isinstance(caught.value, AmbiguousDialect)


def recognised(row, answer: str) -> Architecture:
    """The architecture of a row's tensors where the user names one."""
    dialect = DIALECTS[row.dialect]
    return recognise_all("file", dialect.shapes(row.architecture), [dialect], answer)[0].architecture


@pytest.mark.parametrize("name", [*ANTI_ALIASED, "resnetblur18", "seresnextaa201d_32x8d"])
def test_an_anti_aliased_network_is_read_by_its_name(name):
    row = published(name)
    found = decision(row, names=[name], settings={"antialias": row.architecture.antialias})
    assert found.match.architecture == row.architecture
    assert found.note == ""


@pytest.mark.parametrize("option", [None, "avg_pool", "AvgPool", "blur", "blurpc"])
def test_timms_anti_aliasing_layer_is_an_option_of_a_training_script(tmp_path, option):
    torch = pytest.importorskip("torch")
    state_dict = {name: torch.from_numpy(array) for name, array in small_network().weights.items()}
    torch.save({"state_dict": state_dict, "args": {"aa_layer": option}}, tmp_path / "a.pth")
    if option == "blurpc":
        with pytest.raises(UnsupportedFormat, match="aa_layer='blurpc'"):
            se_weights.read(tmp_path / "a.pth")
    else:
        expected = {None: "none", "blur": "blur"}.get(option, "mean")
        assert se_weights.read(tmp_path / "a.pth").architecture.antialias == expected


def test_a_published_file_is_known_by_its_hash_or_by_the_hash_in_its_name():
    plain, blurred = published("resnet50", "a1_in1k"), published("resnetblur50")
    for row in (plain, blurred):
        for options in ({"sha256": row.digits + "0" * 56}, {"path": f"any-{row.digits}.pth"}):
            found = decision(row, **options)
            assert found.published.full_name == f"timm {row.name}.{row.tag}"
            assert found.match.architecture.function_key() == row.architecture.function_key()


def test_the_hash_of_a_pytorchcv_file_chooses_its_dialect():
    """Both dialects match the tensors; only the hash or the user can tell."""
    for name, dialect in (("seresnet50", "pytorchcv"), ("seresnet50b", "pytorchcv-b")):
        row = published(name, source="pytorchcv")
        with pytest.raises(AmbiguousDialect):
            decision(row)
        assert decision(row, path=f"{name}-0555-{row.digits[:8]}.pth").match.dialect.name == dialect
        assert decision(row, dialect=dialect).match.dialect.name == dialect


def test_a_network_that_has_a_name_and_no_weights_is_noted():
    found = decision(published("seresnetaa50d"))
    assert "seresnetaa50d" in found.note
    assert "aa_layer" in found.note
    assert "aa_layer" in decision(published("seresnet18"), names=["another"]).note
    assert decision(published("seresnet18"), names=["seresnet18"]).note == ""


def test_a_basic_network_of_torchvision_is_read_without_a_note():
    assert decision(published("resnet34", source="torchvision")).note == ""


def test_openmmlabs_style_chooses_the_convolution_that_strides():
    row = published("resnet50_msra", source="mmdetection")
    with pytest.raises(AmbiguousArchitecture) as caught:
        decision(row)
    assert "resnet50:stride_in=conv1" in caught.value.candidates
    for convolution in ("conv1", "conv2"):
        known = {"stride_in": convolution, "antialias": "none"}
        assert decision(row, settings=known).match.architecture.stride_in == convolution


@pytest.mark.parametrize("dialect", ["torch", "keras", "nnx"])
def test_a_file_in_our_names_without_metadata_is_asked_about_and_each_answer_is_accepted(tmp_path, dialect):
    """Of legacy_seresnet50, which strides in conv1 and rounds its pool up; 16-bit zeros, which are quick to write."""
    legacy = published("legacy_seresnet50").architecture
    suffix = {"torch": ".safetensors", "keras": ".weights.h5", "nnx": ".npz"}[dialect]
    weights = {each.name: np.zeros(each.shape, np.float16) for each in manifest(legacy)}
    path = tmp_path / f"a{suffix}"
    se_weights.write(se_weights.Checkpoint(legacy, weights), path, dialect=dialect)
    assert se_weights.read(path).architecture.function_key() == legacy.function_key()
    shapes = DIALECTS[dialect].shapes(legacy)
    matches = recognise_all("file", shapes, [DIALECTS[dialect]])
    with pytest.raises(AmbiguousArchitecture) as caught:
        decide(path, matches, ModelConfig(), lambda: UNKNOWN)
    answers = [name for name in caught.value.candidates if name.startswith("se_resnet50")]
    functions = {
        recognise_all("file", shapes, [DIALECTS[dialect]], name)[0].architecture.function_key() for name in answers
    }
    assert len(functions) == len(answers) >= 3
    assert legacy.function_key() in functions


def test_msgpack_files_have_metadata_where_the_tensors_do_not_decide(tmp_path):
    network = published("seresnet18").architecture
    weights = {each.name: np.zeros(each.shape, np.float16) for each in manifest(network)}
    se_weights.write(se_weights.Checkpoint(network, weights), tmp_path / "a.msgpack")
    assert se_weights.read(tmp_path / "a.msgpack").architecture.function_key() == network.function_key()


@pytest.mark.parametrize(
    "options",
    [
        {"hyper_parameters": {"model": {"output_stride": 4}}},
        {"args": {"replace_stride_with_dilation": [True, True, True]}},
        {"args": {"act_layer": "silu"}},
        {"args": {"global_pool": "max"}},
        {"meta": {"cfg": "model = dict(backbone=dict(type='ResNet', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 8)))"}},
        {"meta": {"cfg": "model = dict(backbone=dict(dilations=(1, 1, 2, 4)))  # strided and dilated"}},
    ],
    ids=lambda options: json.dumps(options)[:40],
)
def test_options_beside_the_weights_that_change_the_function_refuse_the_file(tmp_path, options):
    torch = pytest.importorskip("torch")
    state_dict = {name: torch.from_numpy(array) for name, array in small_network().weights.items()}
    torch.save({"state_dict": state_dict, **options}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedFormat, match="another function"):
        se_weights.read(tmp_path / "a.pth")
    known = small_network().architecture
    assert se_weights.read(tmp_path / "a.pth", architecture=known).architecture == known


OPENMMLAB = "model = dict(backbone=dict(type='ResNet', strides=(1, 2, {}), dilations=(1, 1, {}){}), head=dict())"
DILATED = [
    ({"args": {"output_stride": 16}}, 16, False),
    ({"args": {"encoder_name": "se_resnet50", "encoder_output_stride": 8}}, 8, True),
    ({"hyper_parameters": {"_model_class": "DeepLabV3Plus", "encoder_name": "resnet50"}}, 16, True),
    ({"hyper_parameters": {"_model_class": "DeepLabV3", "encoder_name": "tu-seresnet50"}}, 8, False),
    ({"hyper_parameters": {"_model_class": "PAN", "encoder_output_stride": 32}}, 32, False),
    ({"args": {"replace_stride_with_dilation": [False, True, True]}}, 8, False),
    ({"args": {"replace_stride_with_dilation": None}}, 32, False),
    ({"meta": {"cfg": OPENMMLAB.format("2, 1", "1, 2", "")}}, 16, True),
    ({"meta": {"cfg": OPENMMLAB.format("1, 1", "2, 4", ", contract_dilation=True")}}, 8, False),
    ({"meta": {"cfg": OPENMMLAB.format("2", "1", "")}}, 32, False),
    ({"meta": {"cfg": "model = dict(backbone=dict(strides=(1, 2, 2, 2)))"}}, 32, False),
]


@pytest.mark.parametrize(("options", "stride", "first"), DILATED, ids=str)
def test_options_beside_the_weights_tell_the_dilation(tmp_path, options, stride, first):
    torch = pytest.importorskip("torch")
    state_dict = {name: torch.from_numpy(array) for name, array in small_network().weights.items()}
    torch.save({"state_dict": state_dict, **options}, tmp_path / "a.pth")
    network = se_weights.read(tmp_path / "a.pth").architecture
    assert (network.output_stride, network.dilates_first) == (stride, first)


@pytest.mark.parametrize(("head", "stride"), [((5, 8, 1, 1), 8), ((5, 8), 32)])
def test_a_backbone_of_torchvisions_segmentation_networks_is_dilated(tmp_path, head, stride):
    """A convolution ends their heads; another model with a linear classifier of five layers is not one of them."""
    torch = pytest.importorskip("torch")
    weights = {name: array for name, array in small_network().weights.items() if not name.startswith("fc.")}
    model = {f"backbone.{name}": torch.from_numpy(array) for name, array in weights.items()}
    torch.save({**model, "classifier.4.weight": torch.zeros(head)}, tmp_path / "a.pth")
    checkpoint = se_weights.read(tmp_path / "a.pth")
    assert (checkpoint.architecture.output_stride, checkpoint.metadata["left"]) == (stride, "classifier")


@pytest.mark.parametrize("style", ["caffe", "pytorch"])
def test_the_style_in_a_config_of_openmmlab_is_honoured(tmp_path, style):
    torch = pytest.importorskip("torch")
    state_dict = {name: torch.from_numpy(array) for name, array in small_network().weights.items()}
    text = f"model = dict(type='ImageClassifier', backbone=dict(type='SEResNet', style={style!r}), head=dict())"
    torch.save({"state_dict": state_dict, "meta": {"cfg": text}}, tmp_path / "a.pth")
    assert se_weights.read(tmp_path / "a.pth").architecture.stride_in == {"caffe": "conv1", "pytorch": "conv2"}[style]


def test_the_style_of_a_basic_network_changes_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    network = small_network("basic")
    state_dict = {name: torch.from_numpy(array) for name, array in network.weights.items()}
    text = "model = dict(backbone=dict(type='ResNet', depth=18, style='caffe'))"
    torch.save({"state_dict": state_dict, "meta": {"cfg": text}}, tmp_path / "a.pth")
    assert se_weights.read(tmp_path / "a.pth").architecture.block == "basic"


def test_what_no_network_with_these_tensors_has_refuses_the_file():
    """No network of basic blocks strides in a 1x1, and no DenseNet is anti-aliased."""
    row = published("resnet34", source="torchvision")
    with pytest.raises(UnsupportedFormat, match="says stride_in=conv1, which no network"):
        decision(row, settings={"stride_in": "conv1"})
    densenet = architecture("densenet121", num_classes=3)
    matches = recognise_all("file", DIALECTS["torch"].shapes(densenet), [DIALECTS["torch"]])
    with pytest.raises(UnsupportedFormat, match="says antialias=mean"):
        decide(Path("a.pth"), matches, ModelConfig(frozenset(), {"antialias": "mean"}), lambda: UNKNOWN)


@pytest.mark.parametrize(
    "text", ["se_resnet50", "resnet50:stride_in=conv1", "senet154:stem.pool=ceil,squeeze.bias=true"]
)
def test_an_architecture_with_settings_is_read_back_from_its_text(text):
    name, settings = parse_architecture(text)
    flat = {}
    for key, value in settings.items():
        flat |= {f"{key}.{field}": inner for field, inner in value.items()} if isinstance(value, dict) else {key: value}
    assert format_architecture(name, flat) == text
    architecture(name).replace(**settings)


def test_each_row_has_the_key_of_its_tensors():
    for row in {with_standard_classes(row): row for row in FILES}.values():
        assert row in with_tensors_of(row.architecture, DIALECTS[row.dialect])
        assert decode(encode(row.architecture)) == row.architecture
        assert tensors_key(row.architecture.replace(num_classes=7, in_channels=1)) == tensors_key(row.architecture)


def outcome(row, **known) -> str:
    try:
        return "noted" if decision(row, **known).note else "read"
    except WeightsError as error:
        return type(error).__name__


@cache
def outcome_of_tensors(dialect: str, network: Architecture) -> str:
    """The outcome for a file of which nothing but the tensors is known; `network` has a thousand classes, or none."""
    return outcome(BY_NETWORK[dialect, network])


def with_standard_classes(row) -> Architecture:
    """The network of a row, whose number of classes does not change what a file is read as."""
    return row.architecture.replace(num_classes=1000 if row.architecture.num_classes else 0)


BY_NETWORK = {(row.dialect, with_standard_classes(row)): row for row in FILES}


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param(("mmdetection", "pytorchcv"), id="without pytorchcv"),  # whose networks are the deepest
        pytest.param(("mmdetection",), id="all", marks=pytest.mark.sweep),
    ],
)
def test_questions_are_rare(left_out):
    """Over the published files: with what comes with them (a folder with config.json, a hash), and without."""
    files = [row for row in FILES if row.tag and row.source not in left_out]
    outcomes = [outcome_of_tensors(row.dialect, with_standard_classes(row)) for row in files]
    bare = Counter(outcomes)
    asked = [row for row, ended in zip(files, outcomes, strict=True) if ended not in ("read", "noted")]
    known = Counter(outcome(row, sha256=row.digits.ljust(64, "0"), names=[row.name]) for row in asked)
    assert known["AmbiguousArchitecture"] + known["AmbiguousDialect"] == 0
    assert not known["UnsupportedFormat"]
    assert bare["AmbiguousArchitecture"] + bare["AmbiguousDialect"] < len(files) / 5


FINE_TUNED = ["resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2"]
FINE_TUNED += ["seresnet18", "seresnet50", "seresnext50_32x4d", "seresnext101_32x4d"]


def test_of_ten_fine_tuned_networks_one_is_asked_about():
    """With ten classes, and nothing beside the tensors: only ResNet-50, whose anti-aliased twins are published."""
    asked = []
    for name in FINE_TUNED:
        row = next(row for row in FILES if row.name == name and row.source == "timm")
        shapes = DIALECTS[row.dialect].shapes(row.architecture.replace(num_classes=10))
        matches = recognise_all("file", shapes, [each for each in DIALECTS.values() if each.framework == "torch"])
        try:
            decide(Path("best.pth"), matches, ModelConfig(), lambda: UNKNOWN)
        except AmbiguousDialect:
            asked.append(name)
    assert asked == ["resnet50"]


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory) -> Path:
    """A ResNet-50 in torchvision's names, as zeros of 16 bits."""
    path = tmp_path_factory.mktemp("resnet50") / "best.npz"
    shapes = DIALECTS["torch"].shapes(architecture("resnet50", num_classes=3))
    np.savez(path, **{name: np.zeros(shape, np.float16) for name, shape in shapes.items()})
    return path


def test_the_command_asks_with_status_2_and_takes_the_answer_that_it_proposes(resnet50, tmp_path):
    target = tmp_path / "a.safetensors"
    asked = se_resnet("convert", resnet50, target)
    assert asked.returncode == 2
    assert "--architecture resnet50 " in asked.stderr
    assert not target.exists()
    answered = se_resnet("convert", resnet50, target, "--architecture", "resnet50")
    assert answered.returncode == 0, answered.stderr
    assert se_resnet("convert", target, tmp_path / "b.npz").returncode == 0
    assert next(iter(json.loads(se_resnet("inspect", resnet50, "--json").stdout)["candidates"])) == "resnet50"


@pytest.mark.parametrize("of_one", [True, False], ids=["one file", "all files"])
def test_a_batch_takes_the_answer_for_one_file_or_for_all(resnet50, tmp_path, of_one):
    files = tmp_path / "files.jsonl"
    answer = {"architecture": "resnet50"}
    files.write_text(json.dumps({"source": str(resnet50), "target": "a.safetensors", **(answer if of_one else {})}))
    options = [] if of_one else ["--architecture", "resnet50"]
    result = se_resnet("convert", "--batch", files, tmp_path / "out", *options)
    assert result.returncode == 0, result.stderr
    assert se_weights.read(tmp_path / "out" / "a.safetensors").architecture.name == "resnet50"


def test_a_parity_check_takes_the_answer(resnet50):
    with pytest.raises(AmbiguousArchitecture):
        open_case(str(resnet50))
    assert open_case(str(resnet50), architecture="resnet50:stride_in=conv1").architecture.stride_in == "conv1"


def test_a_name_that_code_bases_give_to_different_networks_does_not_decide():
    """In our own names, a script's `seresnet50` may be timm's or pytorchcv's, which strides elsewhere."""
    shapes = DIALECTS["torch"].shapes(published("seresnet50", source="pytorchcv").architecture)
    matches = recognise_all("file", shapes, [DIALECTS["torch"]])
    with pytest.raises(AmbiguousArchitecture):
        decide(Path("a.pth"), matches, ModelConfig(frozenset(["seresnet50"])), lambda: UNKNOWN)


def test_a_file_that_changes_between_two_readings_is_identified_anew(tmp_path):
    row = published("seresnet50", source="pytorchcv")
    path = tmp_path / "a.pth"
    path.write_bytes(b"first")
    assert file_hash(path, "sha1") != row.digits
    path.write_bytes(b"second")
    assert file_hash(path, "sha1") == hashlib.sha1(b"second").hexdigest()


@pytest.mark.parametrize(
    ("text", "stride_in"),
    [
        ("model=dict(backbone=dict(type='SEResNet', style='caffe', out_indices=(3, )), head=dict())", "conv1"),
        ("model = {'backbone': {'type': 'SEResNet', 'style': 'caffe'}, 'neck': {'style': 'pytorch'}}", "conv1"),
        ('{"backbone": {"norm": {"type": "BN"}, "style": "pytorch", "strides": [1, 2, 2, 2]}}', "conv2"),
        ("model=dict(backbone=dict(type='SEResNet'), head=dict(style='caffe'))", None),
        ("backbone=dict(strides=5, dilations=x", None),
        ("backbone=dict(" + "(" * 60000, None),
    ],
    ids=["dict", "braces", "JSON", "another part", "damaged", "hostile"],
)
def test_the_backbone_of_a_config_is_found_in_its_text(tmp_path, text, stride_in):
    if "strides=5" in text:
        with pytest.raises(UnsupportedFormat, match="strides"):
            read_model_config(tmp_path / "a.pth", [("cfg", text)])
    else:
        settings = read_model_config(tmp_path / "a.pth", [("cfg", text)]).settings
        assert settings.get("stride_in") == stride_in


class Options(dict):
    """Options in a class of a training script, as yacs, addict and EasyDict have them."""


class Node:
    """A node of OmegaConf, which holds its value."""

    def __init__(self, value: object) -> None:
        self._val = value


@pytest.mark.parametrize(
    "options", [Options(output_stride=4), {"output_stride": Node(4)}, Options(net=Options(act_layer="silu"))]
)
def test_options_in_objects_are_read_too(tmp_path, options):
    torch = pytest.importorskip("torch")
    state_dict = {name: torch.from_numpy(array) for name, array in small_network().weights.items()}
    torch.save({"state_dict": state_dict, "config": options}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedFormat, match="another function"):
        se_weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["student", "teacher"])
def test_each_of_two_networks_of_ours_in_a_file_keeps_its_settings(tmp_path, prefix):
    """Their tensors have equal names and shapes."""
    torch = pytest.importorskip("torch")
    import se_torch

    settings = {"student": {"stride_in": "conv1"}, "teacher": {"stem": {"pool": "ceil"}}}
    networks = {name: small_network().architecture.replace(**changed) for name, changed in settings.items()}
    torch.save({name: se_torch.SEResNet(known).state_dict() for name, known in networks.items()}, tmp_path / "a.pth")
    both = torch.nn.ModuleDict({name: se_torch.SEResNet(known) for name, known in networks.items()})
    torch.save(both.state_dict(), tmp_path / "b.pth")
    for path in (tmp_path / "a.pth", tmp_path / "b.pth"):
        found = se_weights.read(path, prefix=prefix).architecture
        assert found.function_key() == networks[prefix].function_key()


@pytest.mark.parametrize("prefix", ["layers/se_res_net", "layers/se_res_net_1"])
def test_each_of_two_networks_of_ours_in_a_keras_file_keeps_its_settings(tmp_path, prefix):
    keras = pytest.importorskip("keras")
    import se_tf

    settings = ({"stride_in": "conv1"}, {"stem": {"pool": "ceil"}})
    networks = [small_network().architecture.replace(**changed) for changed in settings]
    images = keras.Input((33, 40, 3))
    models = [se_tf.SEResNet(known, name=name) for known, name in zip(networks, ("student", "teacher"), strict=True)]
    keras.Model(images, [model(images) for model in models]).save_weights(tmp_path / "a.weights.h5")
    found = se_weights.read(tmp_path / "a.weights.h5", prefix=prefix).architecture
    assert found.function_key() == networks[prefix.endswith("_1")].function_key()
