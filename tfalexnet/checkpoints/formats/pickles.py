"""Pickles read without running them.

A pickle is a program. This unpickler knows the globals it is given, all of them stand-ins, and
nothing else; it believes no length, and takes no time that a short file could make long.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from tfalexnet.checkpoints.formats import CheckpointError

Globals = Mapping[tuple[str, str], Callable]
MAX_NAME = 1 << 8
MAX_LINE = 1 << 10  # Of what is written as text: names of globals, and numbers, whose hash or product takes long.
MAX_READS = 1 << 20  # Two an opcode; a training checkpoint may hold a list of its losses.


def text(value: Any) -> str:
    """A name, which Python 2 wrote as bytes; short, so that none can be copied into many."""
    if not isinstance(value, str | bytes) or len(value) > MAX_NAME:
        raise CheckpointError(f"expected a name of at most {MAX_NAME} signs; received {type(value).__name__}")
    return value.decode("latin1") if isinstance(value, bytes) else value


class Bounded:
    """A file that refuses to read more than it holds, so that no length field is believed.

    Nor does it give way to a file that is opcodes throughout: each takes a hundred times its own byte.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = self.left = size
        self.reads = 0

    def read(self, count: int) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise CheckpointError(f"refused: the pickle has over {MAX_READS // 2} opcodes; weights have some hundred")
        if count > self.left:
            raise CheckpointError(f"truncated: expected {count} more bytes, {self.left} are left. Get the file anew")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise CheckpointError(f"refused: the pickle has a line of over {MAX_LINE} signs")
        self.left -= len(line)
        return line


class Discarded:
    """Stands in for whatever a file holds besides its weights."""

    def __init__(self, *_: Any) -> None:
        pass

    def set(self, state: Any) -> None:
        pass


class Unpickler(pickle._Unpickler):
    """An unpickler that knows the given globals alone.

    The Python unpickler, not the C one: the latter allocates what a length or a memo index claims
    before it reads on. A checkpoint has some hundred opcodes, so that the difference is nothing.
    """

    def __init__(
        self,
        file: Bounded,
        known: Globals,
        stateful: tuple[type, ...],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        # "bytes" leaves a Python-2 string as it is; the arrays of Python 2 are such strings.
        super().__init__(file, encoding="bytes")
        self.encodable = file.size
        self.known = {**known, ("_codecs", "encode"): self.encode}
        self.stateful = stateful
        self.persistent = persistent

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.known[module, name]
        except KeyError:
            raise CheckpointError(
                f"refused: the pickle asks for {module[:80]}.{name[:80]}, which weights do not need. Nothing "
                "of it was run. If you trust the file, save its weights alone"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        if self.persistent is None:
            raise CheckpointError("refused: the pickle refers to objects outside itself")
        return self.persistent(pid)

    def encode(self, string: str, encoding: str | bytes) -> bytes:
        """Python 3 writes bytes in protocol 2 as text to be encoded."""
        self.encodable -= len(string)
        if self.encodable < 0 or text(encoding).replace("-", "") not in ("latin1", "iso88591"):
            raise CheckpointError("refused: expected each array to be encoded once, as latin1")
        return string.encode("latin1")

    def load_frame(self) -> None:
        self.read(8)  # A frame is advice to read so many bytes at once, which would be a second copy.

    def load_build(self) -> None:
        # Only stand-ins take a state: the general rule would set attributes on anything.
        state = self.stack.pop()
        if isinstance(self.stack[-1], self.stateful):
            self.stack[-1].set(state)
        elif not isinstance(self.stack[-1], OrderedDict):  # Its state are notes of PyTorch's.
            raise CheckpointError("refused: the pickle sets the state of something not an array")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(self.stack[-1], items)

    def _fill(self, entries: Any, items: list) -> None:
        # Tuples within tuples share their parts, so that a short pickle can hold a key whose hash
        # takes for ever; two long names that are equal are compared to the end, time and again.
        if not isinstance(entries, dict) or not all(map(_is_key, items[::2])):
            raise CheckpointError("expected dictionaries with short names or numbers for keys")
        entries.update(zip(items[::2], items[1::2], strict=True))

    def load_newobj(self) -> None:
        # How objects are made that hold their state alone; any but a stand-in for one is refused.
        self.stack.pop()
        if self.stack.pop() is not Discarded:
            self.refuse()
        self.append(Discarded())

    def refuse(self) -> None:
        # Extension codes may be answered from a cache, past find_class; sets hash what they hold; the
        # objects that weights are made of are made by REDUCE; numbers of over 255 bytes would be slow.
        raise CheckpointError("refused: the pickle uses extension codes, sets, objects or numbers of any length")

    dispatch = pickle._Unpickler.dispatch | {
        pickle.FRAME[0]: load_frame,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.LONG4[0]: refuse,
        pickle.EXT1[0]: refuse,
        pickle.EXT2[0]: refuse,
        pickle.EXT4[0]: refuse,
        pickle.EMPTY_SET[0]: refuse,
        pickle.ADDITEMS[0]: refuse,
        pickle.FROZENSET[0]: refuse,
        pickle.INST[0]: refuse,
        pickle.OBJ[0]: refuse,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: refuse,
        # The stock opcode allocates the claimed length first; bytes serve as well.
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }


def _is_key(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str | bytes) and len(key) <= MAX_NAME)


def ordered(pairs: Any = ()) -> OrderedDict:
    """Stands in for collections.OrderedDict, which older PyTorch fills from a list of pairs.

    The list is emptied, so that one cannot be copied a thousand times.
    """
    if not isinstance(pairs, list) and pairs != ():
        raise CheckpointError("expected a dictionary made of a list of pairs")
    entries = OrderedDict((text(key), value) for key, value in pairs)
    if pairs:
        pairs.clear()
    return entries
