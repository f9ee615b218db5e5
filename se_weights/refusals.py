"""Every reason for which a file is refused, by its id: what kind of failure it is, what it means, what to do.

The ids stay the same from release to release. `docs/refusals.md` is written from this table, and every row of it has a
case in `parity_tests/hostile/` that is refused for it.
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

AGAIN = "Get it again from where it came from"
DISTRUST = "Do not use it unless you know who made it, and why"
STATE_DICT = "In the environment that it came from, save the model's state_dict() instead"


@dataclass(frozen=True)
class Refusal:
    """`means` is a sentence about "it", the file; `advice` is another."""

    kind: type[WeightsError]
    means: str
    advice: str


REFUSALS = {
    # any file
    "file.empty": Refusal(MalformedFile, "it is empty", AGAIN),
    "file.pointer": Refusal(
        MalformedFile, "it is a pointer of Git LFS and not the file itself", "Run `git lfs pull` where it lies"
    ),
    "file.page": Refusal(
        MalformedFile, "it is a web page, not weights", "Download the file itself, not the page that shows it"
    ),
    "file.packed": Refusal(MalformedFile, "it is packed", "Unpack it first"),
    "file.other": Refusal(
        MalformedFile, "its content is another format than its suffix says", "Give it the suffix of its content"
    ),
    "file.bomb": Refusal(UnsafeFile, "it declares far more than it holds", DISTRUST),
    "file.link": Refusal(UnsafeFile, "it leads out of its folder", DISTRUST),
    "tensor.name": Refusal(MalformedFile, "a name in it is no name of a tensor", AGAIN),
    "tensor.count": Refusal(MalformedFile, "it holds more tensors than any network has", AGAIN),
    "tensor.shape": Refusal(MalformedFile, "a tensor has a shape that none can have", AGAIN),
    "tensor.size": Refusal(MalformedFile, "a tensor's shape and type do not fit its bytes", AGAIN),
    "tensor.type": Refusal(
        UnsupportedFormat, "a tensor has a type that holds no weights here", "Save it as float32 where it was made"
    ),
    "metadata.json": Refusal(MalformedFile, "its metadata are not what se-resnet writes", AGAIN),
    "manifest.content": Refusal(MalformedFile, "it is no manifest of se-resnet", "Convert with --manifest to make one"),
    # zip archives: .pth, .npz, .keras
    "zip.damaged": Refusal(MalformedFile, "it is not a whole zip archive", AGAIN),
    "zip.crc": Refusal(MalformedFile, "a record is not what it was when it was saved (CRC-32)", AGAIN),
    "zip.name": Refusal(MalformedFile, "a record's name is not one that a file of weights has", AGAIN),
    "zip.twice": Refusal(MalformedFile, "two records have the same name", AGAIN),
    "zip.header": Refusal(MalformedFile, "a record and the archive's directory say different things of it", AGAIN),
    "zip.method": Refusal(
        UnsupportedFormat, "a record is encrypted, or packed as no file of weights is", "Save it without"
    ),
    "zip.overlap": Refusal(UnsafeFile, "two records share bytes", DISTRUST),
    "zip.directory": Refusal(UnsafeFile, "its directory is larger than any file of weights has it", DISTRUST),
    # torch
    "pickle.damaged": Refusal(MalformedFile, "its pickle cannot be read", AGAIN),
    "pickle.depth": Refusal(MalformedFile, "its pickle is nested deeper than any state_dict", AGAIN),
    "pickle.size": Refusal(MalformedFile, "its pickle is larger than any state_dict's", AGAIN),
    "pickle.opcode": Refusal(UnsafeFile, "its pickle has an instruction that a state_dict never needs", DISTRUST),
    "pickle.global": Refusal(UnsafeFile, "its pickle asks for what a state_dict never needs", DISTRUST),
    "pickle.module": Refusal(UnsafeFile, "it is a whole pickled model, which runs code where it is loaded", STATE_DICT),
    "pickle.content": Refusal(MalformedFile, "its pickle holds no state_dict", STATE_DICT),
    "torch.archive": Refusal(MalformedFile, "it is a zip archive, but not one of torch.save", AGAIN),
    "torch.script": Refusal(UnsupportedFormat, "it is a TorchScript archive", STATE_DICT),
    "torch.export": Refusal(UnsupportedFormat, "it is a program of torch.export", STATE_DICT),
    "torch.executorch": Refusal(UnsupportedFormat, "it is a program of ExecuTorch", STATE_DICT),
    "torch.tar": Refusal(UnsupportedFormat, "it is of torch before 0.1.10", "Save it anew with a later torch"),
    "torch.big-endian": Refusal(
        UnsupportedFormat, "it was saved on a big-endian machine", "Save it with torch on a little-endian one"
    ),
    "torch.storage": Refusal(MalformedFile, "a storage is not what the pickle declares", AGAIN),
    "torch.tensor": Refusal(MalformedFile, "a tensor does not lie within its storage", AGAIN),
    "torch.kind": Refusal(
        UnsupportedFormat,
        "it holds tensors that are sparse, quantized, nested, distributed or without values",
        "Save dense tensors: tensor.to_dense(), tensor.dequantize(), tensor.full_tensor()",
    ),
    "torch.distributed": Refusal(
        UnsupportedFormat,
        "it is a distributed checkpoint of torch whose metadata are a pickle, which runs code where it is loaded",
        "Save it with torch.distributed.checkpoint.HuggingFaceStorageWriter, as safetensors",
    ),
    # safetensors
    "safetensors.header": Refusal(MalformedFile, "its header cannot be read", AGAIN),
    "safetensors.twice": Refusal(MalformedFile, "a name stands twice in its header", AGAIN),
    "safetensors.offsets": Refusal(MalformedFile, "its tensors do not fill it one after the other", AGAIN),
    "shards.index": Refusal(MalformedFile, "the index of its shards cannot be read", AGAIN),
    "shards.path": Refusal(UnsafeFile, "the index of its shards leads out of its folder", DISTRUST),
    "shards.missing": Refusal(MalformedFile, "a shard, or a tensor in it, is missing", "Get all files of the folder"),
    "shards.pieces": Refusal(
        MalformedFile, "the pieces of a tensor do not make a whole", "Get all files of the folder"
    ),
    # HDF5
    "hdf5.damaged": Refusal(MalformedFile, "the HDF5 library cannot read it", AGAIN),
    "hdf5.limits": Refusal(UnsafeFile, "the HDF5 library fails on it, or takes too much of time or memory", DISTRUST),
    "hdf5.link": Refusal(UnsafeFile, "it leads elsewhere, which weights never need", DISTRUST),
    "hdf5.type": Refusal(MalformedFile, "it holds what is no array of numbers", AGAIN),
    "hdf5.filter": Refusal(
        UnsupportedFormat, "it is packed by a filter that is none of HDF5's own", "Repack it: h5repack -f NONE"
    ),
    "hdf5.layers": Refusal(MalformedFile, "it is no weights file of Keras 2: its lists of names do not fit it", AGAIN),
    "keras.archive": Refusal(MalformedFile, "it is a zip archive, but not one that Keras saves", AGAIN),
    "keras.sharded": Refusal(
        UnsupportedFormat, "its weights are sharded", "Save it from Keras as one file: model.save_weights(path)"
    ),
    # npz
    "npz.header": Refusal(MalformedFile, "the header of an array cannot be read", AGAIN),
    "npz.object": Refusal(UnsafeFile, "an array holds Python objects, which run code where they are loaded", DISTRUST),
    # flax msgpack
    "msgpack.damaged": Refusal(MalformedFile, "it is not whole msgpack", AGAIN),
    "msgpack.depth": Refusal(MalformedFile, "it is nested deeper than any network", AGAIN),
    "msgpack.extension": Refusal(MalformedFile, "it holds an extension that Flax does not write", AGAIN),
    "msgpack.array": Refusal(MalformedFile, "an array in it is not as Flax writes them", AGAIN),
    "msgpack.chunks": Refusal(MalformedFile, "the chunks of an array do not make a whole", AGAIN),
    "msgpack.key": Refusal(MalformedFile, "a key in it is no text, or stands twice", AGAIN),
    # Orbax
    "orbax.uncommitted": Refusal(
        MalformedFile, "its saving was never finished", "Take a step that was, or save it anew"
    ),
    "orbax.steps": Refusal(
        AmbiguousFolder, "it holds no checkpoint itself, but steps of a training run", "Give the folder of one step"
    ),
    "orbax.metadata": Refusal(MalformedFile, "its metadata are missing, damaged or do not fit its arrays", AGAIN),
    "orbax.missing": Refusal(MalformedFile, "a part of an array is missing, or damaged", "Get all files of the folder"),
    # folders
    "folder.content": Refusal(
        UnsupportedFormat,
        "it is a folder without weights that are known here",
        "A folder is read where it holds model.safetensors, model.weights.h5, pytorch_model.bin or an Orbax checkpoint",
    ),
}


def refuse(reason: str, detail: str) -> WeightsError:
    """The error for a reason of the table, to be raised; `detail` says which part, and what was expected of it.

    The path of the file is put before it where the file is opened.
    """
    refusal = REFUSALS[reason]
    error = refusal.kind(f"{refusal.means}: {printable(detail)}. {refusal.advice}.")
    error.id = reason
    return error
