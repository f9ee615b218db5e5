"""Reads what is known of a network beside its tensors: a `config.json`, or the options that a training script saved.

Networks with other options than their code base's defaults have the same tensors and compute other functions: timm's
anti-aliased networks (timm 1.0.31, models/resnet.py and models/_hub.py), dilated encoders of segmentation networks, and
mmpretrain's `style='caffe'`, whose bottlenecks stride in the first 1x1 (mmpretrain 1.2.0, models/backbones/resnet.py).
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from se_weights.errors import UnsupportedFormat, printable
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import CONFIG as LONGEST_TEXT
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Names of weights files to which a `config.json` in the same folder belongs."""

ANTI_ALIASED = re.compile(r"res(net|next)(aa|blur)")

NAME_OPTIONS = ("architecture", "arch", "model_name", "model", "backbone", "backbone_name", "encoder_name", "encoder")
"""Options under which a network is named."""

PLAIN_OPTIONS: Mapping[str, tuple[object, ...]] = {
    "output_stride": (None, 32),
    "encoder_output_stride": (None, 32),
    "aa_layer": (None, ""),
    "act_layer": (None, "", "relu", "torch.nn.modules.activation.ReLU"),
    "global_pool": (None, "", "avg"),
}
"""Options of timm and segmentation_models_pytorch that change the function and no tensor, with the values of the
supported networks."""

STAGES = (1, 2, 2, 2)
"""Strides of the stages of a network that is not dilated."""


@dataclass(frozen=True)
class ModelConfig:
    """What is known of a network beside its tensors.

    Attributes:
        names: Names of networks in their code base.
        settings: Settings of its architecture, by name.
    """

    names: frozenset[str] = frozenset()
    settings: Mapping[str, object] = field(default_factory=dict)


def read_model_config(path: Path, options: Iterable[tuple[str, object]]) -> ModelConfig:
    """Reads what a `config.json` and the options in a file tell about the network.

    Args:
        path: A folder, or a weights file.
        options: The names and values of the options in the file itself.

    Raises:
        UnsupportedFormat: The network is anti-aliased, dilated, or has another activation or global pool.
        MalformedFile: The `config.json` is not a JSON object.
    """
    config_path = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    beside = (path.is_dir() or path.name in WEIGHTS) and config_path.is_file()
    names: set[str] = set()
    settings: dict[str, object] = {}
    for source, found in {CONFIG: _items(_parse(config_path)) if beside else (), "training script": options}.items():
        for option, value in found:
            if option in NAME_OPTIONS and isinstance(value, str):
                names.add(value)
                if ANTI_ALIASED.search(value):
                    raise _unsupported(path, source, f"{option}={value}, an anti-aliased network", "aa_layer")
            if option in PLAIN_OPTIONS and value not in PLAIN_OPTIONS[option]:
                raise _unsupported(path, source, f"{option}={value!r}", option)
            if option in ("cfg", "config") and isinstance(value, str):
                settings |= _mm_settings(path, source, value)
    return ModelConfig(frozenset(names), settings)


def _mm_settings(path: Path, source: str, text: str) -> dict[str, object]:
    """The settings that a config of OpenMMLab has for its backbone."""
    options = dict(_mm_backbone(text))
    strides, dilations = options.get("strides", STAGES), options.get("dilations", ())
    if tuple(strides) != STAGES[: len(strides)] or any(each != 1 for each in dilations):
        raise _unsupported(path, source, f"strides={strides!r} and dilations={dilations!r}", "dilations")
    return {"stride_in": "conv1" if options["style"] == "caffe" else "conv2"} if "style" in options else {}


def _mm_backbone(text: str) -> Iterator[tuple[str, Any]]:
    """The options of the backbone in a config, a text of Python's dictionaries, of which nothing is run."""
    if len(text) > LONGEST_TEXT:
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "backbone" and isinstance(node.value, ast.Call):
            for option in node.value.keywords:
                if option.arg in ("style", "strides", "dilations"):
                    try:
                        yield option.arg, ast.literal_eval(option.value)
                    except ValueError:
                        continue


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
