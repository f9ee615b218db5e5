"""Reads the `config.json` that timm saves next to weights: it shows networks that the tensors do not.

timm's anti-aliased networks, and networks with other arguments, have the tensors of plain ones and compute other
functions (timm 1.0.31, models/resnet.py and models/_hub.py).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from se_weights.errors import UnsupportedFormat, printable
from se_weights.files.json_document import DuplicateKey, parse_object
from se_weights.files.limits import HEADER
from se_weights.refusals import refuse

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Names of weights files to which a `config.json` in the same folder belongs."""

ANTI_ALIASED = re.compile(r"res(net|next)(aa|blur)")

PLAIN_ARGUMENTS: Mapping[str, tuple[object, ...]] = {
    "output_stride": (None, 32),
    "aa_layer": (None, ""),
    "act_layer": (None, "relu"),
    "global_pool": (None, "", "avg"),
}
"""Arguments of timm's models that change the function and no tensor, with the values of the supported networks."""


def check_model_config(path: Path) -> None:
    """Checks that the `config.json` of weights does not name a network that is not supported.

    Args:
        path: A folder, or a weights file; without a `config.json`, nothing is checked.

    Raises:
        UnsupportedFormat: The network is anti-aliased, dilated, or has another activation or global pool.
        MalformedFile: The `config.json` is not a JSON object.
    """
    config_path = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    if not (path.is_dir() or path.name in WEIGHTS) or not config_path.is_file():
        return
    config = _parse(config_path)
    name, arguments = str(config.get("architecture", "")), config.get("model_args")
    if ANTI_ALIASED.search(name):
        raise _unsupported(path, f"{name}, an anti-aliased network", "aa_layer")
    arguments = {**config, **(arguments if isinstance(arguments, dict) else {})}
    for argument, plain in PLAIN_ARGUMENTS.items():
        if arguments.get(argument) not in plain:
            raise _unsupported(path, f"{name or 'a network'} with {argument}={arguments[argument]!r}", argument)


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > HEADER:
        raise refuse("metadata.json", f"{path} has {path.stat().st_size:,} bytes")
    try:
        return parse_object(path.read_bytes(), "metadata.json")
    except DuplicateKey as error:
        raise refuse("metadata.json", f"{path}: {error}") from error


def _unsupported(path: Path, network: str, argument: str) -> UnsupportedFormat:
    return UnsupportedFormat(
        f"{path}: its {CONFIG} names {printable(network)}. It has the tensors of a plain network and computes another "
        f"function ({argument}), which is not supported; architecture= (--architecture) reads it as the plain network"
    )
