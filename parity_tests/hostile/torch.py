"""Cases 59 to 61 and 69 to 74: what torch and others save that is no plain state_dict in a zip, and what is."""

import pickle as op
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np

from parity_tests.hostile.archive import Record, archive
from parity_tests.hostile.case import Case, Good, Make, accepted, saved
from parity_tests.hostile.pickles import (
    ORDERED,
    REBUILD,
    View,
    by_torch,
    call,
    keyed,
    made,
    mapping,
    name,
    number,
    pickled,
    row,
    rows,
    state,
    storages,
    text,
    torch_file,
    views,
    whole,
    with_entries,
)

MAGIC = 0x1950A86A20F9469CFC6C
LINEAR = name("torch.nn.modules.linear", "Linear")
FLAT = b"\x1c\0\0\0ET12" + bytes(1000)
EXPORTED = archive(
    Record(f"package/{name}", content)
    for name, content in {"version": b"3\n", "archive_format": b"pt2", "models/model.json": b"{}"}.items()
)

NOTES = {
    "args": made(name("argparse", "Namespace"), mapping({"lr": number(1)})),
    "best": call(
        name("numpy._core.multiarray", "scalar"),
        call(name("numpy", "dtype"), text("f8"), op.NEWFALSE, op.NEWTRUE)
        + row(number(3), text("<"), *[op.NONE] * 3, number(-1), number(-1), number(0))
        + op.BUILD,
        call(name("_codecs", "encode"), text("\0" * 6 + "\xf0?"), text("latin1")),
    ),
    "device": call(name("torch", "device"), text("cuda"), number(0)),
    "optimizer": keyed([(text("state"), keyed([(number(0), mapping({"step": number(9)}))]))]),
}
SETTINGS = made(
    name("omegaconf.dictconfig", "DictConfig"),
    mapping(
        {
            "_metadata": made(
                name("omegaconf.base", "ContainerMetadata"), mapping({"ref_type": name("typing", "Any")})
            ),
            "_content": mapping({"lr": made(name("omegaconf.nodes", "AnyNode"), mapping({"_val": number(1)}))}),
            "_parent": op.NONE,
        }
    ),
)


def model(good: Good) -> bytes:
    """As `torch.save(model)` pickles a classifier."""
    parameters = mapping({word: state(good)[f"fc.{word}"] for word in ("weight", "bias")})
    return made(LINEAR, mapping({"training": op.NEWFALSE, "_parameters": parameters, "_buffers": op.EMPTY_DICT}))


def whole_model(folder: Path, good: Good) -> Path:
    import torch

    import se_torch

    torch.save(se_torch.SEResNet(good.network.architecture), folder / "weights.pth")
    return folder / "weights.pth"


def with_records(**more: bytes) -> Make:
    """The good archive with other records; `__` stands for a dot."""
    changed = {f"archive/{name.replace('__', '.')}": content for name, content in more.items()}

    def records(good: Good) -> bytes:
        found = torch_file(whole(mapping(state(good))), storages(good.weights))
        kept = [record for record in found if record.name not in changed]
        return archive([*kept, *(Record(name, content) for name, content in changed.items())])

    return saved("weights.pth", records)


def tar(good: Good) -> bytes:
    """torch's layout of 2016."""
    members = {"sys_info": op.dumps({"little_endian": True}), "pickle": op.dumps({}), "storages": b"", "tensors": b""}
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for key, value in members.items():
            member = tarfile.TarInfo(key)
            member.size = len(value)
            file.addfile(member, BytesIO(value))
    return content.getvalue()


def stacked(good: Good, declared: int = 5) -> bytes:
    """torch's layout from before 1.6: five pickles, and then the storages; fc.bias may declare another size."""
    found = views(good.weights)
    found["fc.bias"] = found["fc.bias"].but(count=declared)
    end = op.TUPLE + op.BINPERSID
    tree = mapping({key: view.pickled.replace(end, op.NONE + end) for key, view in found.items()})
    sizes = {"short": 2, "int": 4, "long": 4}
    heads = MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    last = [struct.pack("<q", view.count) + good.weights[key].tobytes() for key, view in found.items()]
    keys = [view.key for view in found.values()]
    return b"".join([*(op.dumps(head, 2) for head in heads), whole(tree), op.dumps(keys, 2), *last])


def shared(good: Good) -> bytes:
    """A convolution kept channels last, and a norm whose two vectors are halves of one storage."""
    weights = good.weights
    gamma, beta = weights.pop("bn1.weight"), weights.pop("bn1.bias")
    weights |= {"conv1.weight": np.moveaxis(weights["conv1.weight"], 1, -1), "both": np.concatenate([gamma, beta])}
    found = views(weights)
    both = found.pop("both")
    found["conv1.weight"] = found["conv1.weight"].but(shape=(8, 3, 7, 7), stride=(147, 1, 21, 3))
    found |= {"bn1.weight": both.but(shape=(8,)), "bn1.bias": both.but(shape=(8,), offset=8)}
    return archive(torch_file(whole(mapping({key: view.pickled for key, view in found.items()})), storages(weights)))


FIVE = View("89", 5, (5,), (1,))
INDICES = View("90", 5, (1, 5), (5, 1), storage="LongStorage")
TYPE = name("torch", "per_tensor_affine")
SPARSE = (
    call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
    row(INDICES.pickled, FIVE.pickled, call(name("torch", "Size"), rows([5])), op.NEWTRUE),
)
QUANTIZED = (
    FIVE.but(storage="QInt8Storage", count=20).reference,
    *(number(0), rows([5]), rows([1])),
    *(row(TYPE, op.BINFLOAT + struct.pack(">d", 0.1), number(0)), op.NEWFALSE, ORDERED),
)
NESTED = FIVE.pickled, INDICES.pickled, INDICES.pickled, INDICES.pickled
NOWHERE = name("torch", "float32"), rows([5]), rows([1]), op.NEWFALSE
"""The arguments with which torch 2.13 pickles such tensors."""


def as_bias(rebuild: str, arguments: tuple[bytes, ...]) -> Make:
    """The good file, with fc.bias as torch pickles a tensor of another kind."""
    bias = call(name("torch._utils", rebuild), *arguments)

    def records(good: Good) -> bytes:
        indices = {INDICES.key: np.arange(5).tobytes()}
        return archive(torch_file(whole(mapping(state(good) | {"fc.bias": bias})), storages(good.weights) | indices))

    return saved("weights.pth", records)


def of_type(module: str, attribute: str) -> Make:
    """The good file, with fc.bias as torch pickles a subclass of its tensors."""

    def tree(good: Good) -> bytes:
        view = views(good.weights)["fc.bias"]
        parts = view.reference, number(0), rows(view.shape), rows(view.stride), op.NEWFALSE, ORDERED
        rebuild = name("torch._tensor", "_rebuild_from_type_v2")
        return mapping(state(good) | {"fc.bias": call(rebuild, REBUILD, name(module, attribute), row(*parts), op.NONE)})

    return pickled(tree)


def with_key(key: bytes) -> Make:
    """The good file, with one tensor more under a key that is no text."""

    def tree(good: Good) -> bytes:
        named = [(text(name), value) for name, value in state(good).items()]
        return keyed([*named, (key, state(good)["fc.bias"])])

    return pickled(tree)


def distributed(folder: Path, good: Good) -> Path:
    """A folder of torch.distributed.checkpoint, whose metadata would run something."""
    path = folder / "weights"
    path.mkdir()
    (path / ".metadata").write_bytes(whole(call(name("os", "system"), text("touch ran"))))
    (path / "__0_0.distcp").write_bytes(good.content(".pth"))
    return path


CASES = (
    Case("59a", "a whole model of torch's own layers", pickled(model), 4, "pickle.module"),
    Case("59b", "a whole model of ours, as torch saves it", whole_model, 4, "pickle.module", needs="torch"),
    Case("60a", "a TorchScript archive", with_records(constants__pkl=whole(op.EMPTY_TUPLE)), 5, "torch.script"),
    Case("60b", "a program of torch.export", saved("weights.pt", EXPORTED), 5, "torch.export"),
    Case("60c", "a program of ExecuTorch", saved("weights.pt", FLAT), 5, "torch.executorch"),
    Case("61a", "the layout of before torch 0.1.10", saved("weights.pth", tar), 5, "torch.tar"),
    accepted("61b", "the layout of before torch 1.6", saved("weights.pth", stacked)),
    accepted(
        "61c",
        "the same as torch saves it",
        by_torch(lambda torch, tensors: tensors, _use_new_zipfile_serialization=False),
        needs="torch",
    ),
    Case(
        "61d",
        "the same, with terabytes declared for fc.bias",
        saved("weights.pth", lambda good: stacked(good, 2**40)),
        3,
        "torch.storage",
        says="89",
    ),
    Case(
        "61e",
        "the same, cut in the last storage",
        saved("weights.pth", lambda good: stacked(good)[:-1]),
        3,
        "torch.storage",
        says="89",
    ),
    Case("69", "a file of a big-endian machine", with_records(byteorder=b"big"), 5, "torch.big-endian"),
    Case("70a", "a sparse tensor", as_bias("_rebuild_sparse_tensor", SPARSE), 5, "torch.kind"),
    Case("70b", "a quantized tensor", as_bias("_rebuild_qtensor", QUANTIZED), 5, "torch.kind"),
    Case("70c", "a nested tensor", as_bias("_rebuild_nested_tensor", NESTED), 5, "torch.kind"),
    Case("70d", "a tensor of values nowhere", as_bias("_rebuild_meta_tensor_no_storage", NOWHERE), 5, "torch.kind"),
    Case(
        "70e", "a tensor in parts on several machines", of_type("torch.distributed.tensor", "DTensor"), 5, "torch.kind"
    ),
    Case("70f", "a tensor that pretends", of_type("torch._subclasses.fake_tensor", "FakeTensor"), 5, "torch.kind"),
    accepted("71", "views, and two tensors in one storage", saved("weights.pth", shared)),
    accepted("72a", "a checkpoint with an optimiser, options, a score and a device", with_entries(**NOTES)),
    accepted("72b", "a checkpoint with settings of OmegaConf", with_entries(config=SETTINGS)),
    Case("73", "a folder of torch's DCP, whose metadata are a pickle", distributed, 5, "torch.distributed"),
    Case("74a", "a number for a key", with_key(number(7)), 3, "weights.mismatch", says="+ 7 (5,)"),
    Case("74b", "a tuple for a key", with_key(row(number(1), number(2))), 3, "weights.mismatch", says="+ (1, 2) (5,)"),
    Case("74c", "bytes for a key", with_key(op.SHORT_BINBYTES + b"\2fc"), 3, "weights.mismatch", says="+ b'fc' (5,)"),
    Case("74d", "a list of tensors", pickled(lambda good: row(*state(good).values())), 3, "pickle.content"),
)
