"""Cases 59 to 61, 69 to 72 and 74: whole models, older layouts of torch, special tensors and training checkpoints."""

import pickle as op
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np

from parity_tests.hostile.archive import Record, archive
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, file_with
from parity_tests.hostile.pickles import (
    ORDERED,
    REBUILD,
    View,
    by_torch,
    call,
    dict_of,
    global_name,
    int_tuple,
    new_object,
    number,
    pickle_of,
    pickled,
    state,
    storages,
    text,
    text_dict,
    torch_file,
    tuple_of,
    viewed,
    views,
    with_entries,
)

MAGIC = 0x1950A86A20F9469CFC6C
LINEAR = global_name("torch.nn.modules.linear", "Linear")
FLAT = b"\x1c\0\0\0ET12" + bytes(1000)
EXPORTED = archive(
    Record(f"package/{name}", content)
    for name, content in {"version": b"3\n", "archive_format": b"pt2", "models/model.json": b"{}"}.items()
)

NOTES = {
    "args": new_object(global_name("argparse", "Namespace"), text_dict({"lr": number(1)})),
    "best": call(
        global_name("numpy._core.multiarray", "scalar"),
        call(global_name("numpy", "dtype"), text("f8"), op.NEWFALSE, op.NEWTRUE)
        + tuple_of(number(3), text("<"), *[op.NONE] * 3, number(-1), number(-1), number(0))
        + op.BUILD,
        call(global_name("_codecs", "encode"), text("\0" * 6 + "\xf0?"), text("latin1")),
    ),
    "device": call(global_name("torch", "device"), text("cuda"), number(0)),
    "optimizer": dict_of([(text("state"), dict_of([(number(0), text_dict({"step": number(9)}))]))]),
}
SETTINGS = new_object(
    global_name("omegaconf.dictconfig", "DictConfig"),
    text_dict(
        {
            "_metadata": new_object(
                global_name("omegaconf.base", "ContainerMetadata"),
                text_dict({"ref_type": global_name("typing", "Any")}),
            ),
            "_content": text_dict(
                {"lr": new_object(global_name("omegaconf.nodes", "AnyNode"), text_dict({"_val": number(1)}))}
            ),
            "_parent": op.NONE,
        }
    ),
)


def model(valid: ValidFiles) -> bytes:
    """A linear layer as `torch.save(model)` pickles it."""
    parameters = text_dict({leaf: state(valid)[f"fc.{leaf}"] for leaf in ("weight", "bias")})
    return new_object(
        LINEAR, text_dict({"training": op.NEWFALSE, "_parameters": parameters, "_buffers": op.EMPTY_DICT})
    )


LOSS = new_object(
    global_name("torch.nn.modules.loss", "CrossEntropyLoss"),
    text_dict({"_buffers": op.EMPTY_DICT, "training": op.NONE}),
)


def unknown_dict(valid: ValidFiles) -> bytes:
    """The valid tensors in an object of an unknown class of dictionaries."""
    items = b"".join(text(name) + value for name, value in state(valid).items())
    return call(global_name("training", "StateDict")) + op.MARK + items + op.SETITEMS


def in_tuple(valid: ValidFiles) -> bytes:
    """What Ray's tutorials save: the state dicts of the model and of the optimizer."""
    return tuple_of(text_dict(state(valid)), text_dict({"state": text_dict({"step": FIVE.pickled})}))


def whole_model(folder: Path, valid: ValidFiles) -> Path:
    import torch

    import se_torch

    torch.save(se_torch.SEResNet(valid.network.architecture), folder / "weights.pth")
    return folder / "weights.pth"


def with_records(**more: bytes) -> Make:
    """The valid archive with these records added or replaced; `__` stands for a dot."""
    changed = {f"archive/{name.replace('__', '.')}": content for name, content in more.items()}

    def records(valid: ValidFiles) -> bytes:
        found = torch_file(pickle_of(text_dict(state(valid))), storages(valid.weights))
        kept = [record for record in found if record.name not in changed]
        return archive([*kept, *(Record(name, content) for name, content in changed.items())])

    return file_with("weights.pth", records)


def tar(valid: ValidFiles) -> bytes:
    """A file in the layout of torch before 0.1.10."""
    members = {"sys_info": op.dumps({"little_endian": True}), "pickle": op.dumps({}), "storages": b"", "tensors": b""}
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for key, value in members.items():
            member = tarfile.TarInfo(key)
            member.size = len(value)
            file.addfile(member, BytesIO(value))
    return content.getvalue()


def stacked(valid: ValidFiles, declared: int = 5) -> bytes:
    """The layout of torch before 1.6: five pickles, then the storages. fc.bias declares this many values."""
    found = views(valid.weights)
    found["fc.bias"] = found["fc.bias"].but(count=declared)
    end = op.TUPLE + op.BINPERSID
    tree = text_dict({key: view.pickled.replace(end, op.NONE + end) for key, view in found.items()})
    sizes = {"short": 2, "int": 4, "long": 4}
    heads = MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    last = [struct.pack("<q", view.count) + valid.weights[key].tobytes() for key, view in found.items()]
    keys = [view.key for view in found.values()]
    return b"".join([*(op.dumps(head, 2) for head in heads), pickle_of(tree), op.dumps(keys, 2), *last])


def shared(valid: ValidFiles) -> bytes:
    """A convolution in channels-last order, and a norm whose weight and bias are halves of one storage."""
    weights = valid.weights
    gamma, beta = weights.pop("bn1.weight"), weights.pop("bn1.bias")
    weights |= {"conv1.weight": np.moveaxis(weights["conv1.weight"], 1, -1), "both": np.concatenate([gamma, beta])}
    found = views(weights)
    both = found.pop("both")
    found["conv1.weight"] = found["conv1.weight"].but(shape=(8, 3, 7, 7), stride=(147, 1, 21, 3))
    found |= {"bn1.weight": both.but(shape=(8,)), "bn1.bias": both.but(shape=(8,), offset=8)}
    return archive(
        torch_file(pickle_of(text_dict({key: view.pickled for key, view in found.items()})), storages(weights))
    )


FIVE = View("89", 5, (5,), (1,))
INDICES = View("90", 5, (1, 5), (5, 1), storage="LongStorage")
TYPE = global_name("torch", "per_tensor_affine")
SPARSE = (
    call(global_name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
    tuple_of(INDICES.pickled, FIVE.pickled, call(global_name("torch", "Size"), int_tuple([5])), op.NEWTRUE),
)
QUANTIZED = (
    FIVE.but(storage="QInt8Storage", count=20).reference,
    *(number(0), int_tuple([5]), int_tuple([1])),
    *(tuple_of(TYPE, op.BINFLOAT + struct.pack(">d", 0.1), number(0)), op.NEWFALSE, ORDERED),
)
NESTED = FIVE.pickled, INDICES.pickled, INDICES.pickled, INDICES.pickled
NOWHERE = global_name("torch", "float32"), int_tuple([5]), int_tuple([1]), op.NEWFALSE
"""Arguments with which torch 2.13 pickles sparse, quantized, nested and meta tensors."""


def as_bias(rebuild: str, arguments: tuple[bytes, ...]) -> Make:
    """The valid file with fc.bias pickled by another rebuild function of torch."""
    bias = call(global_name("torch._utils", rebuild), *arguments)

    def records(valid: ValidFiles) -> bytes:
        indices = {INDICES.key: np.arange(5).tobytes()}
        return archive(
            torch_file(pickle_of(text_dict(state(valid) | {"fc.bias": bias})), storages(valid.weights) | indices)
        )

    return file_with("weights.pth", records)


def of_type(module: str, attribute: str) -> Make:
    """The valid file with fc.bias pickled as a subclass of torch.Tensor."""

    def tree(valid: ValidFiles) -> bytes:
        view = views(valid.weights)["fc.bias"]
        parts = view.reference, number(0), int_tuple(view.shape), int_tuple(view.stride), op.NEWFALSE, ORDERED
        rebuild = global_name("torch._tensor", "_rebuild_from_type_v2")
        return text_dict(
            state(valid)
            | {"fc.bias": call(rebuild, REBUILD, global_name(module, attribute), tuple_of(*parts), op.NONE)}
        )

    return pickled(tree)


def with_key(key: bytes) -> Make:
    """The valid file with a further tensor under this key."""

    def tree(valid: ValidFiles) -> bytes:
        named = [(text(name), value) for name, value in state(valid).items()]
        return dict_of([*named, (key, state(valid)["fc.bias"])])

    return pickled(tree)


CASES = (
    Case("59a", "a whole model of torch's own layers", pickled(model), 4, "pickle.module"),
    Case("59b", "a whole model of ours, as torch saves it", whole_model, 4, "pickle.module", made_with="torch"),
    Case(
        "59c",
        "a whole model in a checkpoint, beside its optimizer",
        pickled(lambda valid: text_dict({"model": model(valid), "optimizer": text_dict({"exp_avg": FIVE.pickled})})),
        4,
        "pickle.module",
        says="model is torch.nn.modules.linear.Linear",
    ),
    Case(
        "59d",
        "a state dict of an unknown class",
        pickled(lambda valid: text_dict({"state_dict": unknown_dict(valid)})),
        4,
        "pickle.global",
        says="state_dict is training.StateDict",
    ),
    accepted("59e", "a loss of torch's own beside the weights", with_entries(loss=LOSS)),
    accepted("59f", "the state dicts of a model and its optimizer, in a tuple", pickled(in_tuple)),
    Case("60a", "a TorchScript archive", with_records(constants__pkl=pickle_of(op.EMPTY_TUPLE)), 5, "torch.script"),
    Case("60b", "a program of torch.export", file_with("weights.pt", EXPORTED), 5, "torch.export"),
    Case("60c", "a program of ExecuTorch", file_with("weights.pt", FLAT), 5, "torch.executorch"),
    Case("61a", "the layout of before torch 0.1.10", file_with("weights.pth", tar), 5, "torch.tar"),
    accepted("61b", "the layout of before torch 1.6", file_with("weights.pth", stacked)),
    accepted(
        "61c",
        "the same as torch saves it",
        by_torch(lambda torch, tensors: tensors, _use_new_zipfile_serialization=False),
        made_with="torch",
    ),
    Case(
        "61d",
        "the same, with terabytes declared for fc.bias",
        file_with("weights.pth", lambda valid: stacked(valid, 2**40)),
        3,
        "torch.storage",
        says="89",
    ),
    Case(
        "61e",
        "the same, cut in the last storage",
        file_with("weights.pth", lambda valid: stacked(valid)[:-1]),
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
    Case(
        "70g",
        "a tensor of an unknown class",
        of_type("fastai.torch_core", "TensorImage"),
        4,
        "pickle.global",
        says="fc.bias is fastai.torch_core.TensorImage",
    ),
    Case("70h", "a tensor of complex numbers", viewed("fc.bias", storage="ComplexFloatStorage"), 5, "torch.kind"),
    accepted(
        "70i",
        "tensors of such kinds beside the weights",
        with_entries(
            complex=FIVE.but(storage="ComplexFloatStorage").pickled,
            quantized=call(global_name("torch._utils", "_rebuild_qtensor"), *QUANTIZED),
        ),
    ),
    accepted("71", "views, and two tensors in one storage", file_with("weights.pth", shared)),
    accepted("72a", "a checkpoint with an optimiser, options, a score and a device", with_entries(**NOTES)),
    accepted("72b", "a checkpoint with settings of OmegaConf", with_entries(config=SETTINGS)),
    Case("74a", "a number for a key", with_key(number(7)), 3, "weights.mismatch", says="+ 7 (5,)"),
    Case(
        "74b",
        "a tuple for a key",
        with_key(tuple_of(number(1), number(2))),
        3,
        "weights.mismatch",
        says="+ (1, 2) (5,)",
    ),
    Case("74c", "bytes for a key", with_key(op.SHORT_BINBYTES + b"\2fc"), 3, "weights.mismatch", says="+ b'fc' (5,)"),
    Case("74d", "a list of tensors", pickled(lambda valid: tuple_of(*state(valid).values())), 3, "pickle.content"),
)
