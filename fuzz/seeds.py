"""Small valid files of every format, as different programs write them; the mutations start from these.

python -m fuzz.seeds FOLDER         writes all of them, for a corpus
"""

import json
import pickle
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
from numpy.typing import NDArray

import se_spec
import se_weights
from se_spec import Architecture, manifest
from se_weights import Checkpoint
from se_weights.files import FileContents, Tensor
from se_weights.files.safetensors import single_file as safetensors
from se_weights.files.torch.dcp_safetensors import SHARDING_INFO

SMALL: dict[str, Any] = {"depths": (1, 1), "widths": (4, 8), "num_classes": 3, "reduction": 2}
SMALL_DENSE: dict[str, Any] = {"block_config": (2, 1), "growth_rate": 4, "num_init_features": 8, "reduction": 2}
GROUPED = {"groups": 2, "base_width": 32}

ARCHITECTURES = {
    "basic": se_spec.architecture("se_resnet18", **SMALL),
    "bottleneck": se_spec.architecture("se_resnet50", **SMALL),
    "grouped": se_spec.architecture("se_resnext50_32x4d", **SMALL, **GROUPED),
    "deep stem": se_spec.architecture("senet154", **SMALL, groups=2, base_width=32, stem={"width": 6, "inner": (3, 4)}),
    "pre-activation": se_spec.architecture("se_preresnet18", **SMALL, input_norm=True),
    "eca": se_spec.architecture("ecaresnet26t", depths=(1, 1), widths=(4, 8), num_classes=3),
    "anti-aliased": se_spec.architecture("se_resnetaa50d", **SMALL),
    "rs": se_spec.architecture("se_resnetrs50", **SMALL),
    "dilated": se_spec.architecture("resnet18", **SMALL | {"depths": (1,) * 4, "widths": (4,) * 4}, output_stride=16),
    "dense": se_spec.architecture("se_densenet121", **SMALL_DENSE, se_places=("layer", "transition")),
}

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Sample:
    """A file, or a folder of files.

    Attributes:
        opens: Path that is opened, relative to the folder; "" for the folder itself.
        files: Content of each file by its relative path.
    """

    opens: str
    files: Mapping[str, bytes]

    def write(self, folder: Path) -> Path:
        """Write the files into an empty folder; return the path to be opened."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.opens if self.opens else folder


def single_file(name: str, content: bytes) -> Sample:
    """A sample of one file."""
    return Sample(name, {name: content})


@cache
def checkpoint(kind: str, dtype: str = "float32") -> Checkpoint:
    """A checkpoint of one of ARCHITECTURES, with random weights."""
    architecture = ARCHITECTURES[kind]
    return Checkpoint(architecture, dict(_weights(architecture, np.dtype(dtype))))


def _weights(architecture: Architecture, dtype: np.dtype) -> Iterator[tuple[str, NDArray]]:
    random = np.random.default_rng(0)
    for parameter in manifest(architecture):
        yield parameter.name, random.uniform(0.5, 1.5, parameter.shape).astype(dtype)


def written(suffix: str, kind: str, dtype: str = "float32", **options: Any) -> Sample:
    """A file or folder that `se_weights.write` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        se_weights.write(checkpoint(kind, dtype), path, **options)
        if path.is_file():
            return single_file(path.name, path.read_bytes())
        files = {f"{path.name}/{file.name}": file.read_bytes() for file in sorted(path.iterdir())}
        return Sample(path.name, files)


def deflated(sample: Sample, extra: Mapping[str, bytes] | None = None, without: str = " ") -> Sample:
    """A zip archive, compressed, with the `extra` records added and those that end in `without` left out."""
    (content,) = sample.files.values()
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        kept = {name: old.read(name) for name in old.namelist() if not name.endswith(without)}
        for name, record in {**kept, **(extra or {})}.items():
            new.writestr(zipfile.ZipInfo(name), record, zipfile.ZIP_DEFLATED)
    return single_file(sample.opens, buffer.getvalue())


# torch


def by_torch(protocol: int, state: Callable[[Any, dict[str, Any]], object], **options: Any) -> Sample:
    """A file that torch saves; `state` makes what is saved from the torch module and the tensors."""
    import torch

    buffer = BytesIO()
    tensors = {name: torch.tensor(array) for name, array in checkpoint("basic").weights.items()}
    torch.save(state(torch, tensors), buffer, pickle_protocol=protocol, **options)
    return single_file("model.pth", buffer.getvalue())


def training(torch: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """A training checkpoint with shared storages, transposed tensors and several dtypes."""
    shared = torch.arange(24.0).reshape(4, 6)
    optimizer = {"rows": shared[1:3, ::2], "turned": shared.T, "half": shared.half(), "bfloat16": shared.bfloat16()}
    entries = {
        "epoch": 7,
        "best": 0.5,
        "lr": [0.1, (0.2, None)],
        "name": "run",
        "done": True,
        "groups": {1: {"a": b"x"}},
    }
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    return {"state_dict": parameters, "optimizer": {"state": {0: optimizer}}, **entries}


def numpy_pickle(protocol: int) -> Sample:
    """A pickle of numpy arrays, one in Fortran order and one big-endian."""
    arrays = dict(checkpoint("bottleneck").weights)
    arrays["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    arrays["big"] = np.arange(4, dtype=">f4")
    return single_file("model.pkl", pickle.dumps(arrays, protocol))


# HDF5


def hdf5(name: str, fill: Callable[[h5py.File], object], **options: Any) -> Sample:
    """An HDF5 file that `fill` fills."""
    buffer = BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return single_file(name, buffer.getvalue())


def keras_arrays() -> dict[str, NDArray]:
    """Every sixth array of a weights file, by its path; more of them would only take time."""
    arrays: dict[str, NDArray] = {}
    (content,) = written(".weights.h5", "basic").files.values()
    with h5py.File(BytesIO(content)) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return dict(list(arrays.items())[::6])


def packed(file: h5py.File) -> None:
    """Chunked, shuffled, compressed and with checksums."""
    for name, array in keras_arrays().items():
        chunks = max(1, len(array) // 2), *array.shape[1:]
        file.create_dataset(name, data=array, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True)


def plain(file: h5py.File) -> None:
    """Contiguous datasets."""
    for name, array in keras_arrays().items():
        file.create_dataset(name, data=array)


LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "conv2d": {"kernel": (7, 7, 3, 4)},
    "conv2d_1": {"kernel": (3, 3, 4, 4)},
    "batch_normalization": {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
    "activation": {},
    "dense": {"kernel": (4, 2), "bias": (2,)},
}


def keras2(group: str = "") -> Callable[[h5py.File], None]:
    """Weights in the layout of Keras 2, at the root or in a group of a model file."""

    def fill(file: h5py.File) -> None:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = [layer.encode() for layer in LAYERS]
        root.attrs["backend"] = b"tensorflow"
        for layer, weights in LAYERS.items():
            inner = root.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{leaf}:0".encode() for leaf in weights]
            for leaf, shape in weights.items():
                inner[f"{layer}/{leaf}:0"] = np.ones(shape, "f4")

    return fill


def keras_archive(method: int, *, ours: bool) -> Sample:
    """A .keras archive, written without Keras; `ours` adds the record that se-resnet writes."""
    weights = hdf5("model.weights.h5", plain).files["model.weights.h5"]
    known = {name: value for name, value in checkpoint("basic").architecture.to_dict().items() if value is not None}
    config = {"module": "se_tf.se_resnet", "class_name": "SEResNet", "config": {"architecture": known}}
    records: dict[str, Any] = {"metadata.json": {"keras_version": "3.15.1"}, "config.json": config}
    if ours:
        records["se_resnet.json"] = {"architecture": json.dumps(known), "dialect": "keras"}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, document in records.items():
            archive.writestr(zipfile.ZipInfo(name), json.dumps(document), method)
        archive.writestr(zipfile.ZipInfo("model.weights.h5"), weights, method)
    return single_file("model.keras", buffer.getvalue())


# msgpack, npz


def chunked_msgpack() -> Sample:
    """A tree with an array in chunks, as Flax writes arrays of more than a gigabyte, and one of rank 0."""
    tree = msgpack.unpackb(next(iter(written(".msgpack", "basic").files.values())), strict_map_key=False)

    def array(shape: tuple[int, ...], values: NDArray) -> msgpack.ExtType:
        return msgpack.ExtType(1, msgpack.packb((shape, values.dtype.name, values.tobytes())))

    flat = np.arange(12, dtype="f4")
    chunks = {str(number): array((4,), flat[4 * number : 4 * number + 4]) for number in range(3)}
    tree["large"] = {"__msgpack_chunked_array__": True, "shape": {"0": 3, "1": 4}, "chunks": chunks}
    tree["one"] = array((), np.array(1.5))
    return single_file("model.msgpack", msgpack.packb(tree))


def unusual_npz() -> Sample:
    """A compressed file of arrays in Fortran order, big-endian, of rank 0, without values and of booleans."""
    arrays: dict[str, Any] = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">f4"),
        "one": np.float16(1.5),
        "none": np.zeros((0, 3), "i8"),
        "bool": np.array([True, False]),
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return single_file("model.npz", buffer.getvalue())


# folders


def indexed() -> Sample:
    """Shards that are opened by their index."""
    folder = written(".hf", "basic", shard_bytes=4000)
    return Sample("model.hf/model.safetensors.index.json", folder.files)


def pieces() -> Sample:
    """The shards of two ranks, as torch's DCP writes them: each tensor split along its first axis."""
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            parts, places = {}, {}
            for name, array in checkpoint("basic").weights.items():
                middle = len(array) // 2
                parts[name] = Tensor.of(array[:middle] if rank == 0 else array[middle:])
                places[name] = {"saved_offsets": [rank * middle] + [0] * (array.ndim - 1)}
            path = Path(folder, f"shard-{rank + 1:05}-model-00001-of-00001.safetensors")
            safetensors.write(path, FileContents(parts, {"format": "pt", SHARDING_INFO: json.dumps(places)}))
            files[f"run/{path.name}"] = path.read_bytes()
    return Sample("run", files)


def torch_dcp() -> Sample:
    """What torch.distributed.checkpoint.save writes in one process: a pickle of metadata, and archives in one file."""
    import torch
    import torch.distributed.checkpoint as dcp

    tensors = {name: torch.tensor(array) for name, array in checkpoint("basic").weights.items()}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        dcp.save({"model": tensors, "epoch": 7}, checkpoint_id=folder)
        return Sample("run", {f"run/{path.name}": path.read_bytes() for path in sorted(Path(folder).iterdir())})


def orbax(version: int) -> Sample:
    """An Orbax checkpoint without OCDBT: a zarr array for each leaf, here uncompressed and in one chunk."""
    arrays = {("params", "conv1", "kernel"): np.ones((3, 3, 2, 4), "f4"), ("params", "fc", "bias"): np.ones(3, "f4")}
    entries: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for levels, array in arrays.items():
        keys = [{"key": level, "key_type": 2} for level in levels]
        value = {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": list(array.shape)}
        entries[str(levels)] = {"key_metadata": keys, "value_metadata": value}
        folder, shape = ".".join(levels), list(array.shape)
        if version == 2:
            fields: dict[str, Any] = {
                "dtype": "<f4",
                "order": "C",
                "fill_value": None,
                "filters": None,
                "compressor": None,
            }
            document = {"zarr_format": 2, "shape": shape, "chunks": shape, **fields, "dimension_separator": "."}
            files[f"{folder}/.zarray"] = json.dumps(document).encode()
            files[f"{folder}/{'.'.join('0' * array.ndim)}"] = array.tobytes()
        else:
            grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
            key_encoding = {"name": "default", "configuration": {"separator": "/"}}
            bytes_codec = {"name": "bytes", "configuration": {"endian": "little"}}
            fields = {"data_type": "float32", "chunk_grid": grid, "chunk_key_encoding": key_encoding, "fill_value": 0.0}
            document = {"zarr_format": 3, "node_type": "array", "shape": shape, **fields, "codecs": [bytes_codec]}
            files[f"{folder}/zarr.json"] = json.dumps(document).encode()
            files[f"{folder}/c/{'/'.join('0' * array.ndim)}"] = array.tobytes()
    tree = {"tree_metadata": entries, "use_ocdbt": False, "use_zarr3": version == 3}
    files["_METADATA"] = json.dumps(tree).encode()
    files["_CHECKPOINT_METADATA"] = json.dumps({"commit_timestamp_nsecs": 1, "custom_metadata": {}}).encode()
    return Sample("step.orbax", {f"step.orbax/{name}": content for name, content in files.items()})


TORCH: dict[str, list[Callable[[], Sample]]] = {
    "pth": [partial(by_torch, number, training) for number in range(2, 6)],
    "stacked": [
        lambda: by_torch(2, training, _use_new_zipfile_serialization=False),
        lambda: by_torch(4, lambda torch, tensors: tensors, _use_new_zipfile_serialization=False),
    ],
    "pieces": [torch_dcp],
}
"""Files that torch itself saves, where it is installed."""

SEEDS: dict[str, list[Callable[[], Sample]]] = {
    "safetensors": [
        lambda: written(".safetensors", "basic"),
        lambda: written(".safetensors", "deep stem", "float16"),
        *(partial(written, ".safetensors", kind) for kind in ("dense", "pre-activation", "eca", "anti-aliased")),
    ],
    "shards": [indexed],
    "pieces": [pieces],
    "huggingface": [lambda: written(".hf", "bottleneck"), lambda: written(".hf", "grouped", shard_bytes=9000)],
    "pth": [
        lambda: written(".pth", "bottleneck"),
        lambda: written(".pth", "rs"),
        lambda: deflated(written(".pth", "deep stem")),
    ],
    "stacked": [lambda: numpy_pickle(2), lambda: numpy_pickle(3), lambda: numpy_pickle(4)],
    "npz": [
        lambda: written(".npz", "basic"),
        lambda: written(".npz", "dilated"),
        lambda: deflated(written(".npz", "grouped")),
        unusual_npz,
    ],
    "msgpack": [
        lambda: written(".msgpack", "bottleneck"),
        lambda: written(".msgpack", "pre-activation"),
        chunked_msgpack,
    ],
    "hdf5": [
        lambda: written(".weights.h5", "basic"),
        lambda: hdf5("model.weights.h5", packed),
        lambda: hdf5("model.weights.h5", plain, libver="latest"),
    ],
    "keras2": [lambda: hdf5("model.h5", keras2()), lambda: hdf5("model.h5", keras2("model_weights"), libver="latest")],
    "keras": [
        lambda: keras_archive(zipfile.ZIP_STORED, ours=True),
        lambda: keras_archive(zipfile.ZIP_DEFLATED, ours=False),
    ],
    "orbax": [lambda: orbax(2), lambda: orbax(3)],
}
"""The files by reader; `stacked` are files of the torch reader that are not zip archives."""


@cache
def seeds(reader: str) -> tuple[Sample, ...]:
    """The valid files of a reader."""
    torch_files = TORCH.get(reader, []) if find_spec("torch") else []
    return tuple(make() for make in (*SEEDS[reader], *torch_files))


def write_corpus(folder: Path) -> None:
    """Write all samples, a folder for each."""
    for reader in SEEDS:
        for number, sample in enumerate(seeds(reader)):
            (folder / reader / str(number)).mkdir(parents=True)
            sample.write(folder / reader / str(number))


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
