"""Reads weights by path, by address or by name. Downloads are kept a second time in our own format.

The second copy is what later calls read, in any framework: it has canonical names, and its metadata say what the
tensors do not show.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import se_weights
from se_hub.address import is_address
from se_hub.errors import UnknownWeights
from se_hub.pretrained import find_pretrained, identity
from se_hub.retrieval import fetch, fetch_published
from se_hub.web import cache_folder
from se_spec import Architecture, __version__, config_differences
from se_weights import Checkpoint, MalformedFile, TargetExists, WeightMismatch, WriteFailed, file_sha256
from se_weights.catalogue import PublishedFile
from se_weights.families import FAMILIES
from se_weights.reading.model_config import CONFIG

ENDS = ("num_classes", "in_channels")
"""Settings in which a model may differ from its published weights, whose classifier or stem is then replaced."""


def read(
    path: str | PathLike[str],
    *,
    dialect: str | None = None,
    architecture: Architecture | str | None = None,
    prefix: str | None = None,
) -> Checkpoint:
    """Read weights of a file, or of an address that `fetch` takes.

    Args:
        path: A file or folder, "hf://owner/name[@revision][/file]", or an https address of the catalogue.
        dialect: The dialect of the file; recognised from the tensors if not given.
        architecture: The architecture, or its name; inferred from the tensors if not given.
        prefix: The prefix of the network in a file that contains several, such as "student"; found if not given.

    Raises:
        se_weights.WeightsError: What `se_weights.read` and `fetch` raise.
    """
    if not is_address(path):
        return se_weights.read(path, dialect=dialect, architecture=architecture, prefix=prefix)
    return _read_once(fetch(fspath(path)), {"dialect": dialect, "architecture": architecture, "prefix": prefix})


def read_pretrained(
    name: str, weights: bool | str, config: Mapping[str, Any], *, zero_init_residual: bool = False
) -> Checkpoint:
    """Read the published weights of a network.

    Args:
        name: The name of the network, such as "se_resnet50".
        weights: The name of the weights, or True for the default ones, as `find_pretrained` takes it.
        config: Settings of the model. Another number of image channels adapts the kernel of the stem, as timm does;
            another number of classes is left to the caller, who starts a new classifier. Settings of training, such as
            `drop_path`, are taken over; any other one must be that of the weights.
        zero_init_residual: A setting of the initial weights, which published ones replace: it must be False.

    Raises:
        UnknownWeights: There are no such weights, or they have other settings.
        se_weights.WeightsError: What `se_weights.read` and `fetch_published` raise.
    """
    if zero_init_residual:
        raise UnknownWeights("zero_init_residual is for initial weights, which published ones replace: leave it out")
    row = find_pretrained(name, weights)
    published = row.architecture
    wanted = published.replace(**config)
    training = FAMILIES[published.family].training_settings
    differences = {
        setting: values
        for setting, values in config_differences(published, wanted).items()
        if setting not in (*ENDS, *training)
    }
    if differences:
        listed = ", ".join(f"{setting} is {theirs}, not {asked}" for setting, (theirs, asked) in differences.items())
        raise UnknownWeights(f"the weights {identity(row)} are of a network with other settings: {listed}")
    checkpoint = _read_published(row)
    kept = {setting: wanted.setting(setting) for setting in training}
    checkpoint = replace(checkpoint, architecture=checkpoint.architecture.replace(**kept))
    return se_weights.adapt_in_channels(checkpoint, wanted.in_channels)


def _read_published(row: PublishedFile) -> Checkpoint:
    """The checkpoint of a published file, which may lack the classifier (backbones for segmentation do)."""
    path = fetch_published(row)
    try:
        checkpoint = _read_once(path, {"dialect": row.dialect, "architecture": row.architecture})
    except WeightMismatch as mismatch:
        backbone = row.architecture.replace(num_classes=0)
        try:
            checkpoint = _read_once(path, {"dialect": row.dialect, "architecture": backbone})
        except WeightMismatch:
            raise mismatch from None
    images = {"preprocessing": row.preprocessing.text} if row.preprocessing else {}
    return replace(checkpoint, metadata={**checkpoint.metadata, **images, "published": row.full_name})


def _read_once(path: Path, options: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a downloaded file: from its converted copy, or else from itself, which is then converted."""
    copy = _converted_copy(path, options)
    if copy.is_file():
        try:
            return se_weights.read(copy)
        except (MalformedFile, WeightMismatch):  # damaged since: written again below
            copy.unlink(missing_ok=True)
    checkpoint = se_weights.read(path, **options)
    with suppress(TargetExists, WriteFailed, OSError):  # without a copy, the next call reads the file again
        copy.parent.mkdir(parents=True, exist_ok=True)
        se_weights.write(checkpoint, copy)
    return checkpoint


def _converted_copy(path: Path, options: dict[str, Any]) -> Path:
    """The path of the converted copy of a file, by its content and by how this version reads it."""
    content = path.parent if path.name.endswith(".json") else path
    how = hashlib.sha256(f"{__version__} {options} {_text(path.with_name(CONFIG))}".encode()).hexdigest()
    return cache_folder() / "converted" / f"{file_sha256(content)}-{how[:16]}.safetensors"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
