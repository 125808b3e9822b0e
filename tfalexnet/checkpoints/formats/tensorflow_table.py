"""Read the sorted tables in which TensorFlow stores checkpoints: those of LevelDB, not compressed.

https://github.com/google/leveldb/blob/main/doc/table_format.md. The last 48 bytes are a footer with the position of the
index, a block whose values are the positions of the other blocks. In a block each key omits what it shares with the
one before.
"""

from collections.abc import Iterator

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.protobuf import read_varint

FOOTER = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")  # The last bytes of a file.
TRAILER = 5  # Bytes behind a block: its compression, 0 for none, and a checksum.
MAX_ENTRIES = 1 << 13  # A network of a thousand variables has three entries for each with Adam.
MAX_KEY = 1 << 9


def entries(table: np.ndarray) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield keys and values of the bytes of a table; the values are views.

    Raises:
        CheckpointError: the table is damaged, compressed, or has too many entries.
    """
    footer = table[-FOOTER:]
    position = 0
    handle = []
    for _ in range(4):  # Offset and size of an unused block, and of the index.
        number, position = read_varint(footer, position)
        handle.append(number)
    remaining, count = table.size, 0
    for _, value in _block(table, *handle[2:]):
        offset, position = read_varint(value, 0)
        size, _ = read_varint(value, position)
        remaining -= size + TRAILER
        if remaining < 0:
            raise CheckpointError("damaged: blocks share bytes. Get the file again")
        for entry in _block(table, offset, size):
            count += 1
            if count > MAX_ENTRIES:
                raise CheckpointError(f"expected at most {MAX_ENTRIES} variables")
            yield entry


def _block(table: np.ndarray, offset: int, size: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield keys and values of a block."""
    if offset + size + TRAILER > table.size:
        raise CheckpointError(f"truncated: a block ends beyond the file's {table.size} bytes. Get the file again")
    if table[offset + size]:
        raise CheckpointError("expected blocks that are not compressed, as TensorFlow writes them")
    block = table[offset : offset + size]
    restarts = int.from_bytes(block[-4:].tobytes(), "little")  # Positions for binary search, behind the entries.
    end = size - 4 - 4 * restarts
    if end < 0:
        raise CheckpointError("damaged: a block is shorter than it states. Get the file again")
    key, position = b"", 0
    while position < end:
        shared, position = read_varint(block, position)
        more, position = read_varint(block, position)
        length, position = read_varint(block, position)
        if shared > len(key) or shared + more > MAX_KEY or position + more + length > end:
            raise CheckpointError("damaged: a key or a value has another length. Get the file again")
        key = key[:shared] + block[position : position + more].tobytes()
        yield key, block[position + more : position + more + length]
        position += more + length
