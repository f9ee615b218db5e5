"""A look at a pickle before it is loaded: only the instructions that data needs, in order, and not too deep.

CPython's unpickler is written in C and trusts a pickle's numbers: an index into its memo is memory that it takes, a
length is memory too, and the hash of a tuple within a million tuples overflows its stack. What is referred to many
times is small in the pickle, and may be endless where it is hashed, copied or shown: objects are counted as often as
they are referred to.
"""

import pickletools
from dataclasses import dataclass
from typing import Any, BinaryIO

from se_weights.errors import WeightsError
from se_weights.files.limits import DEPTH, NAME, NODES
from se_weights.refusals import refuse

DATA = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "BINPERSID"),
}
"""What `pickle` writes for containers, numbers, texts, bytes and the objects of a checkpoint. Not: registered
extensions, buffers beside the pickle, persistent names in text, classes of Python 1, references to what is above."""

DEEPER = {"LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "FROZENSET"}
FILL = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
CALL = {"REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX"}
PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
GET = {"GET", "BINGET", "LONG_BINGET"}

LINE = 64
LONGEST_INTEGER = 80
"""Bits: torch's own magic number."""


def globals_of(file: BinaryIO) -> list[str]:
    """The names that one pickle asks for; the file is left behind its end. Refuses what is not data."""
    begin = file.tell()
    stack = _Stack()
    names = []
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(file)):
            name = opcode.name
            stack.where = name, (position or begin) - begin
            if count > NODES:
                raise stack.refuse("pickle.size", f"comes after {NODES:,} others")
            if name not in DATA:
                raise stack.refuse("pickle.opcode")
            if type(argument) is int and argument.bit_length() > LONGEST_INTEGER:
                raise stack.refuse("pickle.damaged", f"has a number of {argument.bit_length():,} bits")
            if name in PUT and int(argument or 0) > count:
                raise stack.refuse("pickle.damaged", f"remembers number {argument:,} of fewer")
            if name == "GLOBAL":
                names.append(str(argument))
            stack.step(opcode, argument)
    except (ValueError, OverflowError, UnicodeError, MemoryError) as error:
        raise refuse("pickle.damaged", str(error)) from error
    return names


@dataclass(slots=True)
class _Object:
    """How deep an object is nested, and how many it holds, as far as they are known; a text holds its lines."""

    depth: int = 0
    size: int = 1
    long: bool = False


LEAF = _Object()
"""A number, a name or a short text, of which most of a pickle consists."""


class _Stack:
    """What the unpickler has on its stack, where None is a mark, and in its memo."""

    def __init__(self) -> None:
        self.objects: list[_Object | None] = []
        self.memo: dict[int, _Object] = {}
        self.given = 0
        """Objects that calls were given, each of which may copy them."""
        self.where = "", 0
        """The instruction, and the byte that it stands at."""

    def refuse(self, reason: str, detail: str = "") -> WeightsError:
        return refuse(reason, f"{self.where[0]} at offset {self.where[1]} {detail}".strip())

    def step(self, opcode: Any, argument: Any) -> None:
        name = opcode.name
        if name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in PUT:
            self.memo[argument] = self._top()
        elif name in GET:
            self._recall(argument)
        elif not opcode.stack_before and _is_small(argument):
            self.objects.append(LEAF)
        else:
            taken = self._take(opcode.stack_before)
            made = self._made(name, argument, taken)
            if made.depth > DEPTH:
                raise self.refuse("pickle.depth", f"is {made.depth} levels deep")
            if max(made.size, self.given) > NODES:
                raise self.refuse("pickle.size", f"refers to more than {NODES:,} objects")
            self.objects += [None if kind is pickletools.markobject else made for kind in opcode.stack_after]

    def _made(self, name: str, argument: Any, taken: list[_Object]) -> _Object:
        """What an instruction leaves of what it takes, the last of which comes first."""
        if isinstance(argument, str | bytes):
            return _Object(size=1 + min(len(argument), NAME) // LINE, long=len(argument) > NAME)
        made = taken.pop() if name in FILL else _Object()
        size, deeper = sum(item.size for item in taken), int(name in DEEPER or name in FILL)
        made.depth = max(made.depth, deeper + max((item.depth for item in taken), default=0))
        made.size += size
        self.given += size if name in CALL else 0
        return made

    def _recall(self, number: int) -> None:
        if number not in self.memo:
            raise self.refuse("pickle.damaged", f"recalls number {number:,}, which it never remembered")
        if self.memo[number].long:
            raise self.refuse("pickle.size", f"refers again to a text of more than {NAME:,} letters")
        self.objects.append(self.memo[number])

    def _top(self) -> _Object:
        if not self.objects or self.objects[-1] is None:
            raise self.refuse("pickle.damaged", "finds nothing to remember")
        return self.objects[-1]

    def _take(self, kinds: list[Any]) -> list[_Object]:
        """What an instruction takes from the stack, the last first."""
        taken: list[_Object] = []
        for kind in reversed(kinds):
            if kind is pickletools.stackslice:
                while self.objects and (item := self.objects[-1]) is not None:
                    taken.append(item)
                    self.objects.pop()
            elif not self.objects or (self.objects[-1] is None) != (kind is pickletools.markobject):
                raise self.refuse("pickle.damaged", "finds too little on the stack")
            else:
                taken += [item] if (item := self.objects.pop()) is not None else []
        return taken


def _is_small(argument: Any) -> bool:
    return isinstance(argument, int | float) or (isinstance(argument, str | bytes) and len(argument) < LINE)
