"""Cases 48 to 58: pickles that call functions, exhaust memory or are malformed."""

import pickle as op
import struct
from collections.abc import Callable
from pathlib import Path

from parity_tests.hostile.archive import MEGABYTE, Record, archive
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted
from parity_tests.hostile.pickles import (
    ORDERED,
    REBUILD,
    by_torch,
    call,
    global_name,
    int_tuple,
    new_object,
    number,
    pickle_of,
    pickled,
    raw,
    state,
    text,
    text_dict,
    tuple_of,
    viewed,
    views,
    with_entries,
)

RUN = text("touch ran")
HUGE = 2**31 - 1
ITSELF = op.EMPTY_DICT + op.BINPUT + b"\0" + text("self") + op.BINGET + b"\0" + op.SETITEM
ARRAY = call(
    global_name("numpy._core.multiarray", "_reconstruct"),
    global_name("numpy", "ndarray"),
    int_tuple([2**40]),
    text("b"),
)
FLOATS = call(global_name("numpy", "dtype"), text("f4"), op.NEWFALSE, op.NEWTRUE)
FLOATS += tuple_of(number(3), text("<"), op.NONE, op.NONE, op.NONE, number(-1), number(-1), number(0)) + op.BUILD
TERABYTES = (
    ARRAY + tuple_of(number(1), int_tuple([2**40]), FLOATS, op.NEWFALSE, op.SHORT_BINBYTES + b"\4abcd") + op.BUILD
)


def changed(change: Callable[[bytes], bytes]) -> Make:
    """The valid file with its pickle changed."""
    return raw(lambda valid: change(pickle_of(text_dict(state(valid)))))


def ends(last: bytes) -> Make:
    """The valid file with the STOP opcode of its pickle replaced."""
    return changed(lambda content: content.removesuffix(op.STOP) + last)


def by_stack(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + op.STACK_GLOBAL


def doubled(levels: int) -> bytes:
    """A dictionary whose two values are the same dictionary, and so on: 2^levels paths to the innermost one."""
    tree = op.EMPTY_DICT
    for level in range(levels):
        put, get = op.BINPUT + bytes([level]), op.BINGET + bytes([level])
        tree += put + op.POP + op.EMPTY_DICT + text("a") + get + op.SETITEM + text("b") + get + op.SETITEM
    return tree


OBJECT = global_name("training", "Options") + op.EMPTY_TUPLE + op.NEWOBJ


def filled_later(holder: bytes) -> bytes:
    """A dictionary with 20,000 references to a list, or to objects that hold it, which gets its numbers afterwards."""
    shared = op.BINGET + b"\0"
    value = holder + shared + op.BUILD if holder else shared
    items = b"".join(op.BININT + struct.pack("<i", number) + value for number in range(20_000))
    tree = op.EMPTY_LIST + op.BINPUT + b"\0" + op.POP + op.EMPTY_DICT + op.MARK + items + op.SETITEMS
    numbers = shared + op.MARK + (op.BININT1 + b"\x07") * 20_000 + op.APPENDS + op.POP
    return tree + numbers


def framed(excess: int) -> Make:
    """A pickle of protocol 4 whose frame is declared this many bytes longer than it is."""

    def frame(valid: ValidFiles) -> bytes:
        tree = text_dict(state(valid)) + op.STOP
        return op.PROTO + b"\4" + op.FRAME + struct.pack("<Q", len(tree) + excess) + tree

    return raw(frame)


def sparse_pickle(folder: Path, valid: ValidFiles) -> Path:
    """A pickle of 80 megabytes in a sparse file."""
    content = archive([Record("archive/data.pkl", op.PROTO + b"\2" + bytes(80 * MEGABYTE) + op.STOP)])
    with (folder / "weights.pth").open("wb") as file:
        for begin in range(0, len(content), MEGABYTE):
            block = content[begin : begin + MEGABYTE]
            if block.strip(b"\0"):
                file.seek(begin)
                file.write(block)
    return folder / "weights.pth"


def expanded(valid: ValidFiles) -> bytes:
    """fc.weight as one column with stride 0, as `torch.Tensor.expand` makes it."""
    found = views(valid.weights)
    found["fc.weight"] = found["fc.bias"].but(shape=(5, 64), stride=(1, 0))
    return text_dict({key: view.pickled for key, view in found.items()})


def called(number: str, title: str, module: str, function: str) -> Case:
    """A file whose pickle calls this function in addition to loading the weights."""
    evil = call(global_name(module, function), RUN)
    return Case(number, title, with_entries(evil=evil), 4, "pickle.global", says=f"{module}.{function}")


CASES = (
    called("48a", "os.system", "os", "system"),
    called("48b", "eval", "builtins", "eval"),
    called("48c", "Windows' name of it", "nt", "system"),
    called("48d", "Linux' name of it", "posix", "system"),
    Case(
        "49a",
        "a name with a dot",
        with_entries(evil=by_stack("collections", "abc.os")),
        4,
        "pickle.global",
        says="abc.os",
    ),
    Case(
        "49b",
        "a name that leads through torch to others",
        with_entries(evil=call(by_stack("torch", "serialization.os.system"), RUN)),
        4,
        "pickle.global",
        says="serialization.os.system",
    ),
    Case(
        "49c",
        "a name that is a number",
        with_entries(evil=number(1) + number(2) + op.STACK_GLOBAL),
        3,
        "pickle.damaged",
    ),
    Case(
        "50a",
        "an ordered dictionary of a number",
        with_entries(evil=call(global_name("collections", "OrderedDict"), number(5))),
        3,
        "pickle.damaged",
    ),
    Case(
        "50b",
        "a tensor whose storage is a text",
        with_entries(evil=call(REBUILD, RUN, number(0), int_tuple([5]), int_tuple([1]), op.NEWFALSE, ORDERED)),
        3,
        "torch.tensor",
    ),
    Case(
        "50c",
        "a size that is a number",
        with_entries(evil=call(global_name("torch", "Size"), number(5))),
        3,
        "tensor.shape",
    ),
    Case("50d", "an array of terabytes", with_entries(evil=TERABYTES), 3, "tensor.size"),
    Case(
        "50e",
        "terabytes of nothing",
        with_entries(evil=call(global_name("builtins", "bytearray"), number(2**40))),
        4,
        "pickle.global",
        says="bytearray",
    ),
    called("50f", "a function made from code", "types", "FunctionType"),
    called("50g", "an import", "importlib", "import_module"),
    called("50h", "an import by the builtin function", "builtins", "__import__"),
    called("50i", "a pickle in the pickle", "pickle", "loads"),
    called("50j", "a file opened", "io", "open"),
    called("50k", "a name with two underscores, of an honest class", "argparse", "Namespace.__init__.__globals__"),
    Case(
        "50l",
        "an attribute of a function that is called",
        with_entries(evil=call(global_name("builtins", "getattr"), REBUILD, text("__globals__"))),
        4,
        "pickle.global",
        says="getattr",
    ),
    Case(
        "50m",
        "a function that is called, with arguments for later",
        with_entries(evil=call(global_name("functools", "partial"), REBUILD)),
        4,
        "pickle.global",
        says="partial",
    ),
    Case(
        "50n",
        "the same, in a list in its state",
        with_entries(
            evil=new_object(global_name("functools", "partial"), tuple_of(op.EMPTY_LIST + REBUILD + op.APPEND))
        ),
        4,
        "pickle.global",
        says="partial",
    ),
    accepted(
        "50o",
        "an optimizer with options for later, and the name of a value",
        with_entries(
            optimizer=call(global_name("functools", "partial"), global_name("torch.optim.sgd", "SGD")),
            value=call(global_name("builtins", "getattr"), global_name("training", "Phase"), text("TRAIN")),
        ),
    ),
    accepted(
        "50p",
        "objects of unknown classes that are called, changed and filled",
        with_entries(
            history=new_object(global_name("mmengine.logging", "HistoryBuffer"), text_dict({"count": number(1)})),
            items=call(global_name("fastcore.foundation", "L")) + number(1) + op.APPEND,
            settings=call(global_name("easydict", "EasyDict")) + text("lr") + number(1) + op.SETITEM,
            called=call(call(global_name("training", "schedule"), number(1)), number(2)),
        ),
    ),
    Case(
        "51a",
        "an item set in a tensor (CVE-2026-24747)",
        pickled(lambda valid: text_dict({"fc.bias": state(valid)["fc.bias"] + text("a") + number(1) + op.SETITEM})),
        3,
        "pickle.damaged",
    ),
    Case(
        "51b",
        "items set in a list",
        with_entries(evil=op.EMPTY_LIST + op.MARK + text("a") + number(1) + op.SETITEMS),
        3,
        "pickle.damaged",
    ),
    Case(
        "51c",
        "attributes of a function changed",
        with_entries(evil=REBUILD + text_dict({"__defaults__": number(1)}) + op.BUILD),
        3,
        "pickle.damaged",
    ),
    Case(
        "51d",
        "attributes of a class changed",
        with_entries(evil=global_name("collections", "OrderedDict") + text_dict({"get": number(1)}) + op.BUILD),
        3,
        "pickle.damaged",
    ),
    Case(
        "51e",
        "an item appended to a dictionary",
        with_entries(evil=op.EMPTY_DICT + number(1) + op.APPEND),
        3,
        "pickle.damaged",
    ),
    Case("52a", "a storage declared one value longer", viewed("fc.bias", count=6), 3, "torch.storage", says="data/89"),
    Case("52b", "a storage declared in terabytes", viewed("fc.bias", count=2**40), 3, "torch.storage", says="data/89"),
    Case(
        "52c",
        "a storage of another type",
        viewed("fc.bias", storage="DoubleStorage"),
        3,
        "torch.storage",
        says="data/89",
    ),
    Case(
        "52d",
        "a storage that is not there",
        viewed("fc.bias", key="../../fc"),
        3,
        "torch.storage",
        says="data/../../fc",
    ),
    Case(
        "53a",
        "terabytes from a view without stride of twenty bytes",
        viewed("fc.bias", shape=(2**40,), stride=(0,)),
        3,
        "torch.tensor",
    ),
    Case("53b", "the right shape from a view of one column", pickled(expanded), 3, "torch.tensor"),
    Case("54a", "a negative offset", viewed("fc.bias", offset=-1), 3, "torch.tensor", says="-1"),
    Case("54b", "an offset that reaches past the end", viewed("fc.bias", offset=1), 3, "torch.tensor"),
    Case("54c", "a negative stride", viewed("fc.bias", offset=4, stride=(-1,)), 3, "torch.tensor", says="-1"),
    Case("54d", "a stride that reaches past the end", viewed("fc.bias", stride=(2,)), 3, "torch.tensor"),
    Case("54e", "fewer strides than axes", viewed("fc.bias", stride=()), 3, "torch.tensor"),
    Case("54f", "a negative side", viewed("fc.bias", shape=(-5,)), 3, "torch.tensor", says="-5"),
    Case(
        "55a", "something recalled that was never remembered", ends(op.BINGET + b"\xc8" + op.STOP), 3, "pickle.damaged"
    ),
    Case(
        "55b", "more taken from the stack than is there", ends(op.POP + op.POP + op.POP + op.STOP), 3, "pickle.damaged"
    ),
    Case("55c", "a pickle that does not end", ends(b""), 3, "pickle.damaged"),
    Case(
        "55d",
        "a second pickle behind the first",
        ends(op.STOP + pickle_of(call(global_name("os", "system"), RUN))),
        3,
        "pickle.damaged",
    ),
    Case("55e", "an instruction that is none", ends(b"\xff" + op.STOP), 3, "pickle.damaged"),
    Case("56a", "a text of terabytes", ends(op.BINUNICODE8 + struct.pack("<Q", 2**42)), 3, "pickle.damaged"),
    Case("56b", "a number of two gigabytes", ends(op.LONG4 + struct.pack("<i", HUGE)), 3, "pickle.damaged"),
    Case(
        "56c",
        "a place in the memory of billions",
        ends(op.LONG_BINPUT + struct.pack("<I", HUGE) + op.STOP),
        3,
        "pickle.damaged",
    ),
    Case("56d", "a number of a million digits", with_entries(evil=op.INT + b"9" * 10**6 + b"\n"), 3, "pickle.damaged"),
    Case(
        "57a",
        "a storage named in text, of protocol 0",
        with_entries(evil=op.PERSID + b"storage\n"),
        4,
        "pickle.opcode",
        says="PERSID",
    ),
    *(
        accepted(
            f"57{letter}",
            f"protocol {n}",
            by_torch(lambda torch, tensors: tensors, pickle_protocol=n),
            made_with="torch",
        )
        for letter, n in zip("bcd", (3, 4, 5), strict=True)
    ),
    Case("57e", "a frame longer than the pickle", framed(1000), 3, "pickle.damaged"),
    Case("57f", "a frame of exabytes", framed(2**62), 3, "pickle.damaged"),
    Case(
        "57g",
        "protocol 6, which there is not",
        changed(lambda content: op.PROTO + b"\6" + content[2:]),
        3,
        "pickle.damaged",
    ),
    Case("57h", "a registered extension", with_entries(evil=op.EXT1 + b"\1"), 4, "pickle.opcode", says="EXT1"),
    Case(
        "57i",
        "a class of Python 1",
        with_entries(evil=op.MARK + op.INST + b"os\nsystem\n"),
        4,
        "pickle.opcode",
        says="INST",
    ),
    Case(
        "57j", "a buffer beside the pickle", with_entries(evil=op.NEXT_BUFFER), 4, "pickle.opcode", says="NEXT_BUFFER"
    ),
    Case(
        "58a",
        "lists of 100,000 levels",
        with_entries(evil=op.EMPTY_LIST * 10**5 + op.APPEND * (10**5 - 1)),
        3,
        "pickle.depth",
    ),
    Case("58b", "a dictionary that holds itself", with_entries(evil=ITSELF), 3, "pickle.depth"),
    Case("58c", "2^40 branches from forty dictionaries", with_entries(evil=doubled(40)), 3, "pickle.size"),
    Case(
        "58d",
        "a key of 100,000 levels",
        pickled(lambda valid: op.EMPTY_DICT + number(1) + op.TUPLE1 * 10**5 + number(1) + op.SETITEM),
        3,
        "pickle.depth",
    ),
    Case(
        "58f",
        "objects that hold one list, which is long",
        with_entries(evil=filled_later(OBJECT)),
        3,
        "pickle.size",
    ),
    Case(
        "58g",
        "references to one list, which is long",
        with_entries(evil=filled_later(b"")),
        3,
        "pickle.size",
    ),
    Case("58e", "a pickle of 80 megabytes", sparse_pickle, 3, "pickle.size"),
)
