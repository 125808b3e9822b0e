"""Read the text form of protocol buffers, in which Caffe defines networks, without Caffe.

    layer { name: "conv1" type: "Convolution" convolution_param { num_output: 96 kernel_size: 11 } }

is `{"layer": [{"name": ["conv1"], "type": ["Convolution"], "convolution_param": [{"num_output": [96], …}]}]}`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfalexnet.checkpoints.formats import CheckpointError, reading

Message = dict[str, list[Any]]
"""The values of each field in their order: integers, floats, booleans, text (also of enumerations), or messages."""

LARGEST_FILE = 1 << 20  # Bytes; the definition of a network with 150 layers has 100,000.
DEEPEST = 16  # Messages inside each other; Caffe's networks have five.
MOST_VALUES = 1 << 12  # Of all fields; a layer has ten to thirty.

_TOKEN = re.compile(
    r"""(?P<skipped>[\s,;]+|\#[^\n]*)
      | (?P<text>"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')
      | (?P<number>[-+]?(?:\.?\d(?:[eE][-+]|[\w.]){0,50}|inf\b|nan\b))
      | (?P<word>[A-Za-z_]\w*)
      | (?P<mark>[{}<>:\[\]])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}
_BOOLEANS = {"true": True, "false": False}


def read(path: str | os.PathLike) -> Message:
    """Return the message in a text file.

    Raises:
        CheckpointError: it is not such a message, too large or too deep; the message states the line.
        OSError: the file cannot be read.
    """
    with reading(path, "a prototxt, the text in which Caffe defines networks"):
        size = Path(path).stat().st_size
        if size > LARGEST_FILE:
            raise CheckpointError(f"expected a text of at most {LARGEST_FILE:,} bytes; received {size:,} bytes")
        text = Path(path).read_bytes().decode("latin-1")  # A character for each byte, which takes least memory.
        return parse(text.removeprefix("ï»¿"))


def parse(text: str) -> Message:
    """Return the message that a text describes.

    Raises:
        CheckpointError: the text is not in the form of protocol buffers; the message states the line.
    """
    return _Parser(text).message("", DEEPEST)


class _Parser:
    """Reads tokens one after the other; `kind` and `token` are the next one, empty at the end."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.values = text, 0, 0
        self.tokens = self._tokens()
        self.advance()

    def _tokens(self) -> Iterator[tuple[str, str]]:
        while self.position < len(self.text):
            match = _TOKEN.match(self.text, self.position)
            if match is None:
                raise self.error("a prototxt", self.text[self.position : self.position + 20])
            self.position = match.end()
            if match.lastgroup != "skipped":
                yield str(match.lastgroup), match.group()

    def advance(self) -> str:
        """Return the next token and go on to the one after it."""
        token = getattr(self, "token", "")
        self.kind, self.token = next(self.tokens, ("end", ""))
        return token

    def error(self, expected: str, received: str) -> CheckpointError:
        line = self.text.count("\n", 0, self.position) + 1
        return CheckpointError(f"line {line}: expected {expected}; received {received[:40]!r}")

    def message(self, end: str, depth: int) -> Message:
        """Return the fields up to the mark `end`, which is empty for the end of the text."""
        if not depth:
            raise self.error(f"at most {DEEPEST} messages inside each other", self.token)
        fields: Message = {}
        while self.token != end or self.kind == "text":
            if self.kind != "word":
                raise self.error("the name of a field" + (f" or {end!r}" if end else ""), self.token)
            values = fields.setdefault(self.advance(), [])
            if self.token == ":":
                self.advance()
            if self.token == "[":
                self.advance()
                while self.token != "]":
                    values.append(self.value(depth))
                self.advance()
            else:
                values.append(self.value(depth))
        self.advance()
        return fields

    def value(self, depth: int) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self.error(f"at most {MOST_VALUES} values", self.token)
        kind, token = self.kind, self.token
        if token in _CLOSING and kind == "mark":
            self.advance()
            return self.message(_CLOSING[token], depth - 1)
        if kind == "word":
            self.advance()
            return _BOOLEANS.get(token, token)
        if kind == "number":
            self.advance()
            try:
                return _number(token)
            except ValueError:
                raise self.error("a number", token) from None
        if kind != "text":
            raise self.error("a value", token)
        parts = []
        while self.kind == "text":  # Text may be written in several pieces.
            parts.append(re.sub(r"\\(.)", r"\1", self.advance()[1:-1]))
        return "".join(parts).encode("latin-1", "replace").decode("utf-8", "replace")


def _number(token: str) -> int | float:
    """Return the number of a token.

    Raises:
        ValueError: it is none.
    """
    if re.fullmatch(r"[-+]?\d{1,20}", token):
        return int(token)
    if re.fullmatch(r"[-+]?0[xX][0-9a-fA-F]{1,16}", token):
        return int(token, 16)
    return float(token if token.endswith("inf") else token.rstrip("fF"))
