"""Reads what is known of a network beside its tensors: a `config.json`, or the options that a training script saved.

Networks with other options than their code base's defaults have the same tensors and compute other functions: timm's
anti-aliased networks (timm 1.0.31, models/resnet.py, layers/blur_pool.py and models/_hub.py), the dilated ones of
segmentation (timm; smp 0.6.0, encoders/_utils.py; torchvision 0.29, models/resnet.py), and mmpretrain's
`style='caffe'`, whose bottlenecks stride in the first 1x1 (mmpretrain 1.2.0, models/backbones/resnet.py).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from se_weights.errors import UnsupportedFormat, printable
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.preprocessing import IMAGENET, Preprocessing
from se_weights.refusals import refuse

CONFIG = "config.json"
WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Names of weights files to which a `config.json` in the same folder belongs, in the order in which they are read."""

ANTI_ALIASED = re.compile(r"res(?:net|next)(aa|blur)")
"""How timm names its anti-aliased networks; later releases may have more than the table of published files."""

TIMM_ANTIALIASES: Mapping[str, str] = {
    **dict.fromkeys(("aa", "avg", "avgpool"), "mean"),
    **dict.fromkeys(("blur", "blurpool"), "blur"),
}
"""Our word for what timm calls an `aa_layer`, or writes into the names of networks."""

NAME_OPTIONS = ("architecture", "arch", "model_name", "model", "backbone", "backbone_name", "encoder_name", "encoder")
"""Options under which a network is named."""

PLAIN_OPTIONS: Mapping[str, tuple[object, ...]] = {
    "act_layer": (None, "", "relu", "torch.nn.modules.activation.ReLU"),
    "global_pool": (None, "", "avg"),
}
"""Options of timm and segmentation_models_pytorch that change the function and no tensor, with the values of the
supported networks."""

SEGMENTATION_HEAD = re.compile(r"(?:^|[./])classifier\.4\.weight")
SEGMENTATION_BACKBONE = re.compile(r"(?:^|[./])backbone\.conv1\.weight")
"""The last convolution of the heads of torchvision's FCN and DeepLabV3, and the first one of their ResNets
(torchvision 0.29, models/segmentation)."""

DEFAULT_OUTPUT_STRIDES: Mapping[str, int] = {"DeepLabV3": 8, "DeepLabV3Plus": 16, "PAN": 16}
"""Models of segmentation_models_pytorch whose encoders have an output stride below 32 unless another is set
(smp 0.6.0, decoders/deeplabv3/model.py and decoders/pan/model.py)."""

OF_TIMM = "tu-"
"""How segmentation_models_pytorch marks the names of timm's encoders, which timm dilates."""

STRIDES = (1, 2, 2, 2)
"""The strides of OpenMMLab's backbones where none are set."""

DILATIONS: Mapping[tuple[tuple[int, ...], tuple[int, ...]], int] = {
    (STRIDES, (1, 1, 1, 1)): 32,
    ((1, 2, 2, 1), (1, 1, 1, 2)): 16,
    ((1, 2, 1, 1), (1, 1, 2, 4)): 8,
}
"""The output stride by the strides and dilations of OpenMMLab's backbones."""

REPLACED_STRIDES: Mapping[tuple[object, ...], int] = {
    (False, False, False): 32,
    (False, False, True): 16,
    (False, True, True): 8,
}
"""The output stride by torchvision's option `replace_stride_with_dilation`."""

BACKBONE = re.compile(r"\bbackbone['\"]?\s*[=:]\s*(?:dict\(|\{)")
"""Where the options of the backbone begin in a config of OpenMMLab, a text of Python."""

BASIC_DEPTHS = ("18", "34")
"""Depths of networks of basic blocks, for which OpenMMLab ignores the style."""


@dataclass(frozen=True)
class ModelConfig:
    """What is known of a network beside its tensors.

    Attributes:
        names: Names of networks in their code base.
        settings: Settings of its architecture, by name.
        preprocessing: The preprocessing of its images, if it is known.
    """

    names: frozenset[str] = frozenset()
    settings: Mapping[str, object] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None


def read_model_config(path: Path, options: Iterable[tuple[str, object]]) -> ModelConfig:
    """Reads what a `config.json` and the options in a file tell about the network.

    Args:
        path: A folder, or a weights file.
        options: The names and values of the options in the file itself.

    Raises:
        UnsupportedFormat: The network has another activation, global pool, anti-aliasing or dilation.
        MalformedFile: The `config.json` is not a JSON object.
    """
    config_path = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    beside = (path.is_dir() or path.name in WEIGHTS) and config_path.is_file()
    document = _parse(config_path) if beside else {}
    names: set[str] = set()
    settings: dict[str, object] = {}
    for source, known in {CONFIG: _items(document), "training script": options}.items():
        found = list(known)
        for option, value in found:
            if option in NAME_OPTIONS and isinstance(value, str):
                names.add(value)
                if pool := ANTI_ALIASED.search(value):
                    settings["antialias"] = TIMM_ANTIALIASES[pool[1]]
            if option == "aa_layer" and value:
                settings["antialias"] = _antialias(path, source, value)
            if option in PLAIN_OPTIONS and value not in PLAIN_OPTIONS[option]:
                raise _unsupported(path, source, f"{option}={value!r}", option)
            if option in ("cfg", "config") and isinstance(value, str):
                settings |= _backbone_settings(path, source, value)
        settings |= _dilation(path, source, dict(found))
    return ModelConfig(frozenset(names), settings, _preprocessing(config_path, document))


def _preprocessing(path: Path, document: Mapping[str, Any]) -> Preprocessing | None:
    """That of timm's `pretrained_cfg`, or of the same keys at the top, as segmentation_models_pytorch has them.

    timm resizes by other defaults where a key is missing, which none of its own files is.
    """
    known = document.get("pretrained_cfg")
    known = known if isinstance(known, dict) else document
    if "mean" not in known or "std" not in known:
        return None
    try:
        _, height, width = known.get("input_size", (3, IMAGENET.size, IMAGENET.size))
        if height != width:
            raise ValueError(f"images of {printable(f'{height}x{width}')}")
        return Preprocessing(
            channels=str(known.get("input_space", IMAGENET.channels)),
            maximum=float(known.get("input_range", (0, IMAGENET.maximum))[1]),
            mean=_three(known["mean"]),
            std=_three(known["std"]),
            size=int(height),
            interpolation=str(known.get("interpolation", IMAGENET.interpolation)),
            crop=float(known.get("crop_pct") or IMAGENET.crop),
            classes=IMAGENET.classes if known.get("num_classes", 1000) == 1000 else "as published",
            crop_mode=str(known.get("crop_mode") or IMAGENET.crop_mode),
        )
    except (TypeError, ValueError, OverflowError, IndexError, KeyError) as error:
        what = f"{path}: the preprocessing of images is invalid: {printable(str(error))}"
        raise refuse("metadata.json", what) from error


def _three(values: Iterable[Any]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def implied_options(ranks: Mapping[str, int]) -> Iterator[tuple[str, object]]:
    """The options that a larger model implies: torchvision's segmentation networks dilate the last two stages.

    Args:
        ranks: The number of axes of each tensor of the file by name.
    """
    heads = [rank for name, rank in ranks.items() if SEGMENTATION_HEAD.search(name)]
    if 4 in heads and any(SEGMENTATION_BACKBONE.search(name) for name in ranks):
        yield "replace_stride_with_dilation", (False, True, True)


def _antialias(path: Path, source: str, value: object) -> str:
    """Our word for timm's `aa_layer`, in which timm ignores case and dashes."""
    word = str(value).lower().replace("_", "").replace("-", "")
    if word not in TIMM_ANTIALIASES:
        raise _unsupported(path, source, f"aa_layer={value!r}", "aa_layer")
    return TIMM_ANTIALIASES[word]


def _backbone_settings(path: Path, source: str, text: str) -> dict[str, object]:
    """The settings that the text of a config of OpenMMLab has for its backbone."""
    backbone = _backbone_text(text)
    strides, dilations = (_numbers(backbone, option) for option in ("strides", "dilations"))
    strides = strides or STRIDES
    dilations = dilations or (1,) * len(strides)
    known = [
        stride
        for (its_strides, its_dilations), stride in DILATIONS.items()
        if (strides, dilations) == (its_strides[: len(strides)], its_dilations[: len(dilations)])
    ]
    if not known:
        raise _unsupported(path, source, f"strides={strides} and dilations={dilations}", "dilations")
    settings = _dilated(known[0], first=_option(backbone, "contract_dilation") != "True")
    style = _option(backbone, "style")
    if not style or _option(backbone, "depth") in BASIC_DEPTHS:
        return settings
    return {**settings, "stride_in": "conv1" if style.strip("'\"") == "caffe" else "conv2", "antialias": "none"}


def _dilation(path: Path, source: str, options: Mapping[str, object]) -> dict[str, object]:
    """The settings of a dilated network that options of timm, segmentation_models_pytorch or torchvision say."""
    default = DEFAULT_OUTPUT_STRIDES.get(str(options.get("_model_class")))
    stride = options.get("encoder_output_stride", default) or options.get("output_stride") or 32
    replaced = options.get("replace_stride_with_dilation")
    if replaced:
        stride = REPLACED_STRIDES.get(tuple(replaced) if isinstance(replaced, list | tuple) else (replaced,))
    if stride not in DILATIONS.values():
        raise _unsupported(path, source, f"output_stride={stride}, replace_stride_with_dilation={replaced}", "dilation")
    smp = "output_stride" not in options and not replaced
    return _dilated(int(str(stride)), first=smp and not str(options.get("encoder_name", "")).startswith(OF_TIMM))


def _dilated(stride: int, *, first: bool) -> dict[str, object]:
    """The settings of an output stride below 32.

    Args:
        stride: The output stride.
        first: Whether the first block of a dilated stage has the dilation of its stage.
    """
    return {"output_stride": stride, "dilates_first": first} if stride < 32 else {}


def _backbone_text(text: str) -> str:
    """The options of the backbone: the text in the brackets behind its name."""
    found = BACKBONE.search(text)
    begin = found.end() if found else len(text)
    depth = 1
    for position in range(begin, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if not depth:
            return text[begin:position]
    return text[begin:]


def _option(text: str, name: str) -> str:
    """The value of an option as it is written, up to the bracket or comma that ends it; empty if it has none."""
    found = re.search(rf"\b{name}['\"]?\s*[=:]\s*([\[(][^\])]*|[^,)\]}}\s]*)", text)
    return found[1] if found else ""


def _numbers(text: str, name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d{1,9}", _option(text, name))))


def _items(config: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _items(value)


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > HEADER:
        raise refuse("metadata.json", f"{path} has {path.stat().st_size:,} bytes")
    try:
        return parse_object(path.read_bytes(), "metadata.json")
    except DuplicateKey as error:
        raise refuse("metadata.json", f"{path}: {error}") from error


def _unsupported(path: Path, source: str, what: str, option: str) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"{path}: its {source} says {printable(what)}. It has the tensors of a plain network and computes another "
        f"function ({option}), which is not supported; architecture= (--architecture) reads it as the plain network"
    )
