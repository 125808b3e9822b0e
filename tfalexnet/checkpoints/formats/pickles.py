"""Unpickle without executing code from the file.

A pickle is a program. This unpickler resolves only the globals that it is given, each of which is a harmless
replacement. It trusts no length in the file, and its time and memory are bounded by the size of the file.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from tfalexnet.checkpoints.formats import CheckpointError

Globals = Mapping[tuple[str, str], Callable]
ADVICE = "If you trust the file, save only its arrays"
# The modules of `_reconstruct` and `scalar`, as versions of NumPy name them.
NUMPY_MODULES = tuple(
    f"numpy.{core}.{name}" for core in ("core", "_core") for name in ("multiarray", "_multiarray_umath")
)
NUMPY_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")  # Of `_frombuffer`, in pickles of protocol 5.
MAX_NAME = 1 << 8
MAX_LINE = 1 << 10  # Bytes of a global's name or of a number in decimal; long numbers are slow to parse and to hash.
MAX_READS = 1 << 20  # Two per opcode; a training checkpoint may hold a list of its losses.


def text(value: Any) -> str:
    """Return a name as str; Python 2 wrote bytes. A long name, which a file could use for many keys, is refused."""
    if not isinstance(value, str | bytes) or len(value) > MAX_NAME:
        raise CheckpointError(f"expected a name of at most {MAX_NAME} characters; received {type(value).__name__}")
    return value.decode("latin1") if isinstance(value, bytes) else value


class BoundedFile:
    """A file that raises `CheckpointError` if a length in it exceeds the rest, or if it has too many opcodes.

    An opcode of 1 byte may create an object of a hundred bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = self.remaining = size
        self.reads = 0

    def read(self, count: int) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise CheckpointError(f"refused: the pickle has over {MAX_READS // 2} opcodes")
        if count > self.remaining:
            raise CheckpointError(f"truncated: expected {count} bytes, {self.remaining} are left. Get the file again")
        self.remaining -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise CheckpointError(f"refused: the pickle has a line of over {MAX_LINE} bytes")
        self.remaining -= len(line)
        return line


class Placeholder:
    """Replaces an object of a file and ignores its content, which subclasses store."""

    def __init__(self, *_: Any) -> None:
        pass

    def set_state(self, state: Any) -> None:
        """Receive the state that the file gives to the object."""


class Unpickler(pickle._Unpickler):
    """An unpickler that resolves only the given globals.

    It is the Python unpickler: the C one allocates the length or memo index that a file states before it reads on. A
    checkpoint has some hundred opcodes, so that the difference in speed does not matter.

    Args:
        file: the pickle.
        allowed: replacements of the globals that the file may name.
        persistent_load: resolves references to objects outside the pickle; None refuses them.
        advice: what to do with a file that names other globals.
    """

    def __init__(
        self, file: BoundedFile, allowed: Globals, persistent_load: Callable | None = None, advice: str = ADVICE
    ) -> None:
        # With "bytes", strings of Python 2 are not decoded; its arrays are such strings.
        super().__init__(file, encoding="bytes")
        self.encode_budget = file.size
        self.advice = advice
        self.allowed = {**allowed, ("_codecs", "encode"): self.encode}
        if persistent_load:
            self.persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.allowed[module, name]
        except KeyError:
            named = f"the pickle names {module[:80]}.{name[:80]}, which weights do not require; no code was executed"
            raise CheckpointError(f"refused: {named}. {self.advice}") from None

    def encode(self, string: str, encoding: str | bytes) -> bytes:
        """Replace _codecs.encode: in protocol 2, Python 3 writes bytes as text and a call that encodes it."""
        self.encode_budget -= len(string)
        if self.encode_budget < 0 or text(encoding).replace("-", "") not in ("latin1", "iso88591"):
            raise CheckpointError("refused: expected each array to be encoded once, as latin1")
        return string.encode("latin1")

    def load_frame(self) -> None:
        self.read(8)  # A frame only allows reading ahead, which would copy the file.

    def load_build(self) -> None:
        # Python's own rule would set attributes on any object.
        state = self.stack.pop()
        if isinstance(self.stack[-1], Placeholder):
            self.stack[-1].set_state(state)
        elif not isinstance(self.stack[-1], OrderedDict):  # PyTorch gives it metadata as state.
            raise CheckpointError("refused: the pickle sets the state of an object that is not an array")

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
        # A short pickle can build nested tuples with shared parts, whose hash takes forever, and many equal long
        # names, which are compared to the end again and again.
        if not isinstance(entries, dict) or not all(map(_is_key, items[::2])):
            raise CheckpointError("expected dictionaries whose keys are short names or integers")
        entries.update(zip(items[::2], items[1::2], strict=True))

    def load_newobj(self) -> None:
        # Creates an object without calling its class; only `Placeholder` is allowed.
        self.stack.pop()
        if self.stack.pop() is not Placeholder:
            self.refuse()
        self.append(Placeholder())

    def refuse(self) -> None:
        # Extension codes may be resolved from a cache, without find_class; sets hash their members; the objects in
        # weights are created by REDUCE; integers of over 255 bytes are slow.
        raise CheckpointError("refused: the pickle uses extension codes, sets, objects or integers of any length")

    refused = (pickle.LONG4, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.EMPTY_SET, pickle.ADDITEMS)
    refused += (pickle.FROZENSET, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX)
    dispatch = pickle._Unpickler.dispatch | {
        **dict.fromkeys((opcode[0] for opcode in refused), refuse),
        pickle.FRAME[0]: load_frame,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.NEWOBJ[0]: load_newobj,
        # The original opcode allocates the stated length first; bytes serve as well.
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }


def key_text(key: Any) -> str:
    """Return a key of a dictionary as str."""
    return str(key) if isinstance(key, int) else text(key)


def _is_key(key: Any) -> bool:
    return isinstance(key, int) or (isinstance(key, str | bytes) and len(key) <= MAX_NAME)


def ordered_dict(pairs: Any = ()) -> OrderedDict:
    """Replace collections.OrderedDict, which older versions of PyTorch call with a list of pairs.

    The list is emptied, so that a file cannot copy it a thousand times.
    """
    if not isinstance(pairs, list) and pairs != ():
        raise CheckpointError("expected an ordered dictionary of a list of pairs")
    entries = OrderedDict((text(key), value) for key, value in pairs)
    if pairs:
        pairs.clear()
    return entries
