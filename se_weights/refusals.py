"""The reasons for which a file is refused, by id: the kind of error, what was found and what to do about it.

The ids do not change between releases. `docs/reference/refusals.md` is generated from this table, and every row has at
least one test case in `parity_tests/hostile/`.
"""

from dataclasses import dataclass

from se_weights.errors import (
    AmbiguousFolder,
    MalformedFile,
    UnsafeFile,
    UnsupportedFormat,
    WeightsError,
    printable,
)

AGAIN = "Download or copy the file again"
DISTRUST = "Do not load the file unless you trust its author"
STATE_DICT = "Where the model can be loaded, save its state_dict() instead: torch.save(model.state_dict(), path)"
ALL_FILES = "Download or copy all files of the folder"


@dataclass(frozen=True)
class Refusal:
    """One reason for which a file is refused.

    Attributes:
        kind: The error that is raised; it determines the exit status.
        means: What was found, as a clause; the message continues with the details.
        advice: What to do, as a sentence without the full stop.
    """

    kind: type[WeightsError]
    means: str
    advice: str


REFUSALS = {
    # any file
    "file.empty": Refusal(MalformedFile, "the file is empty", AGAIN),
    "file.pointer": Refusal(
        MalformedFile,
        "this is a Git LFS pointer, not the file itself",
        "Run `git lfs pull` in the repository",
    ),
    "file.page": Refusal(
        MalformedFile, "this is an HTML page, not weights", "Download the file itself, not the page that links to it"
    ),
    "file.packed": Refusal(MalformedFile, "the file is compressed or an archive", "Extract it first"),
    "file.other": Refusal(
        MalformedFile,
        "the content is in another format than the file name suffix says",
        "Rename the file with the suffix of its format",
    ),
    "file.bomb": Refusal(UnsafeFile, "the file declares far more data than it contains", DISTRUST),
    "file.link": Refusal(UnsafeFile, "a link or special file leads outside the folder or archive", DISTRUST),
    "tensor.name": Refusal(MalformedFile, "a tensor has an invalid name", AGAIN),
    "tensor.count": Refusal(MalformedFile, "the file contains more tensors than any network has", AGAIN),
    "tensor.shape": Refusal(MalformedFile, "a tensor has an invalid shape", AGAIN),
    "tensor.size": Refusal(MalformedFile, "the shape and dtype of a tensor do not match its number of bytes", AGAIN),
    "tensor.type": Refusal(
        UnsupportedFormat, "a tensor has an unsupported dtype", "Convert it to float32 before saving"
    ),
    "metadata.json": Refusal(MalformedFile, "the metadata are not in the form that se-resnet writes", AGAIN),
    "manifest.content": Refusal(
        MalformedFile,
        "this is not a conversion record of se-resnet",
        "Write one with `se-resnet convert --manifest`",
    ),
    # zip archives: .pth, .npz, .keras
    "zip.damaged": Refusal(MalformedFile, "this is not a complete zip archive", AGAIN),
    "zip.crc": Refusal(MalformedFile, "the content of a zip entry does not match its checksum (CRC-32)", AGAIN),
    "zip.name": Refusal(MalformedFile, "a zip entry has a name that does not occur in weight files", AGAIN),
    "zip.twice": Refusal(MalformedFile, "two zip entries have the same name", AGAIN),
    "zip.header": Refusal(
        MalformedFile, "the header of a zip entry does not match the central directory of the archive", AGAIN
    ),
    "zip.method": Refusal(
        UnsupportedFormat,
        "a zip entry is encrypted or uses an unsupported compression method",
        "Save the file without encryption, uncompressed or deflated",
    ),
    "zip.overlap": Refusal(UnsafeFile, "two zip entries overlap", DISTRUST),
    "zip.directory": Refusal(UnsafeFile, "the central directory of the zip archive is too large", DISTRUST),
    # torch
    "pickle.damaged": Refusal(MalformedFile, "the pickle cannot be read", AGAIN),
    "pickle.depth": Refusal(MalformedFile, "the pickle is nested more deeply than any state dict", AGAIN),
    "pickle.size": Refusal(MalformedFile, "the pickle is larger than that of any state dict", AGAIN),
    "pickle.opcode": Refusal(UnsafeFile, "the pickle uses an opcode that a state dict does not need", DISTRUST),
    "pickle.global": Refusal(
        UnsafeFile, "the pickle imports a class or function that a state dict does not need", DISTRUST
    ),
    "pickle.module": Refusal(
        UnsafeFile, "this is a pickled model, not a state dict; it runs code when it is loaded", STATE_DICT
    ),
    "pickle.content": Refusal(MalformedFile, "the pickle does not contain a state dict", STATE_DICT),
    "torch.archive": Refusal(MalformedFile, "this is a zip archive that torch.save did not write", AGAIN),
    "torch.script": Refusal(UnsupportedFormat, "this is a TorchScript archive", STATE_DICT),
    "torch.export": Refusal(UnsupportedFormat, "this is a torch.export program", STATE_DICT),
    "torch.executorch": Refusal(UnsupportedFormat, "this is an ExecuTorch program", STATE_DICT),
    "torch.tar": Refusal(
        UnsupportedFormat,
        "this is a tar archive as PyTorch before 0.1.10 saved it",
        "Load it in an old PyTorch and save it with a newer one",
    ),
    "torch.big-endian": Refusal(
        UnsupportedFormat, "the file was saved on a big-endian machine", "Save it on a little-endian machine"
    ),
    "torch.storage": Refusal(MalformedFile, "a storage does not match what the pickle declares", AGAIN),
    "torch.tensor": Refusal(MalformedFile, "a tensor exceeds the bounds of its storage", AGAIN),
    "torch.kind": Refusal(
        UnsupportedFormat,
        "the file contains sparse, quantized, nested, distributed or meta tensors",
        "Save dense tensors: tensor.to_dense(), tensor.dequantize(), tensor.full_tensor()",
    ),
    "torch.distributed": Refusal(
        UnsupportedFormat,
        "this torch.distributed checkpoint is compressed, or its metadata are of a layout that is not known",
        "Merge it with dcp_to_torch_save of torch.distributed.checkpoint.format_utils (python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth), or save it with "
        "HuggingFaceStorageWriter",
    ),
    "torch.distributed-part": Refusal(
        UnsupportedFormat, "this is one file of a torch.distributed checkpoint", "Give the path of its folder"
    ),
    # safetensors
    "safetensors.header": Refusal(MalformedFile, "the safetensors header cannot be read", AGAIN),
    "safetensors.twice": Refusal(MalformedFile, "a name occurs twice in the safetensors header", AGAIN),
    "safetensors.offsets": Refusal(
        MalformedFile, "the tensor offsets leave gaps, overlap or do not end where the file ends", AGAIN
    ),
    "shards.index": Refusal(MalformedFile, "the shard index cannot be read", AGAIN),
    "shards.path": Refusal(UnsafeFile, "the shard index refers to a file outside its folder", DISTRUST),
    "shards.missing": Refusal(MalformedFile, "a shard, or a tensor in a shard, is missing", ALL_FILES),
    "shards.pieces": Refusal(MalformedFile, "the parts of a sharded tensor do not fit together", ALL_FILES),
    # HDF5
    "hdf5.damaged": Refusal(MalformedFile, "the HDF5 library cannot read the file", AGAIN),
    "hdf5.limits": Refusal(
        UnsafeFile, "the HDF5 library crashes on the file, or needs too much time or memory for it", DISTRUST
    ),
    "hdf5.link": Refusal(
        UnsafeFile, "the HDF5 file refers to data elsewhere: a link, a virtual dataset or external storage", DISTRUST
    ),
    "hdf5.type": Refusal(MalformedFile, "the HDF5 file contains something other than numeric arrays", AGAIN),
    "hdf5.filter": Refusal(
        UnsupportedFormat,
        "a dataset is compressed with a filter that HDF5 does not include",
        "Rewrite the file without filters: h5repack -f NONE old.h5 new.h5",
    ),
    "hdf5.layers": Refusal(
        MalformedFile,
        "this is not a Keras 2 weights file: layer_names and weight_names do not match its groups and datasets",
        AGAIN,
    ),
    "keras.archive": Refusal(MalformedFile, "this is a zip archive that Keras did not save", AGAIN),
    "keras.sharded": Refusal(
        UnsupportedFormat, "the Keras weights are sharded", "Save them as one file: model.save_weights(path)"
    ),
    # npz
    "npz.header": Refusal(MalformedFile, "the header of an array cannot be read", AGAIN),
    "npz.object": Refusal(
        UnsafeFile, "an array contains Python objects, which run code when they are loaded", DISTRUST
    ),
    # flax msgpack
    "msgpack.damaged": Refusal(MalformedFile, "this is not a complete msgpack file", AGAIN),
    "msgpack.depth": Refusal(MalformedFile, "the tree is nested more deeply than any network", AGAIN),
    "msgpack.extension": Refusal(
        MalformedFile, "the file contains a msgpack extension that Flax does not write", AGAIN
    ),
    "msgpack.array": Refusal(MalformedFile, "an array is not encoded as Flax encodes it", AGAIN),
    "msgpack.chunks": Refusal(MalformedFile, "the chunks of an array do not fit together", AGAIN),
    "msgpack.key": Refusal(MalformedFile, "a key is not a string, or occurs twice", AGAIN),
    # Orbax
    "orbax.uncommitted": Refusal(
        MalformedFile,
        "the Orbax checkpoint is not committed: saving it was interrupted",
        "Use a step that was saved completely, or save it again",
    ),
    "orbax.steps": Refusal(
        AmbiguousFolder,
        "the folder does not contain a checkpoint itself, but the steps of a training run",
        "Give the path of one step",
    ),
    "orbax.metadata": Refusal(
        MalformedFile, "the Orbax metadata are missing, damaged or do not match the arrays", AGAIN
    ),
    "orbax.missing": Refusal(MalformedFile, "a file of an array is missing or damaged", ALL_FILES),
    # folders
    "folder.content": Refusal(
        UnsupportedFormat,
        "the folder does not contain weights in a known format",
        "Give a folder with model.safetensors, model.weights.h5, pytorch_model.bin or an Orbax checkpoint",
    ),
}


def refuse(reason: str, detail: str) -> WeightsError:
    """Return the error for a file that is refused; the caller raises it.

    The path of the file is added at the start of the message where the file is opened.

    Args:
        reason: A key of `REFUSALS`, which becomes the id of the error.
        detail: Which part of the file, what was expected there and what was found. It may contain text from the file.
    """
    refusal = REFUSALS[reason]
    error = refusal.kind(f"{refusal.means}: {printable(detail)}. {refusal.advice}.")
    error.id = reason
    return error
