"""Bounds of the work that a picture's file may ask of its decoder, beyond the number of its pixels."""

import io
import re

from PIL import Image

READS = 1 << 18  # Parts in which a file is read; Pillow takes up to 10 µs for each.
SCANNED = 1 << 31  # Pixels of a JPEG times its scans: seconds. Usual files have up to 10 scans.
COPIES = {"JPEG2000": 2, "WEBP": 2}  # Their decoders take 16 to 20 bytes for each pixel; those of others up to 9.

# Tags of TIFF.
TILE_WIDTH, TILE_LENGTH = 322, 323
PARTS = {273, 279, 324, 325}  # Offsets and lengths of strips and tiles.
BIG_TIFF = 43

MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # Of JPEG, except restarts within a scan.
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = b"\xd8", b"\xd9", b"\xda"


class Reader(io.BytesIO):
    """The bytes of a file; `read` raises `ValueError` once they have been read in more than READS parts.

    Padding, comments, chunks and strips of one byte each would take minutes.
    """

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, as `io.BytesIO.read`."""
        self.reads += 1
        if self.reads > READS:
            raise ValueError(f"a file in more than {READS} parts")
        return super().read(size)


def decoded_pixels(image: Image.Image) -> int:
    """Return how many pixels the decoding of an opened picture takes in memory and time.

    It is width × height, for TIFFs in tiles that of all tiles, and twice as many for formats with large decoders.
    """
    tags, pixels = getattr(image, "tag_v2", {}), COPIES.get(image.format, 1)
    for side, tag in zip(image.size, (TILE_WIDTH, TILE_LENGTH), strict=True):
        tile = max(1, tags.get(tag, 1))
        pixels *= -(-side // tile) * tile
    return pixels


def has_too_many_strips(data: bytes) -> bool:
    """Return whether a file is a TIFF of more than READS strips or tiles, which Pillow lists when it opens the file."""
    order = {b"II": "little", b"MM": "big"}.get(data[:2])
    if not order or not {42, BIG_TIFF} & {*data[2:4]}:
        return False

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    for wide in {data[2] == BIG_TIFF, BIG_TIFF in data[2:4]}:  # Pillow 13 reads big-endian BigTIFFs as small ones.
        # Bytes of an offset and a number of values, of the number of entries, and of an entry.
        long, counted, entry = (8, 8, 20) if wide else (4, 2, 12)
        first = number(long, long) + counted
        end = min(first + entry * number(first - counted, counted), len(data))
        if any(number(at, 2) in PARTS and number(at + 4, long) > READS for at in range(first, end, entry)[:READS]):
            return True
    return False


def has_too_many_scans(image: Image.Image, data: bytes) -> bool:
    """Return whether a JPEG is decoded so many times over that it takes more than SCANNED."""
    if image.format not in ("JPEG", "MPO"):
        return False
    position, scans = 0, 0
    for _ in range(READS):
        match = MARKER.search(data, position)
        if not match or match[1] == END_OF_IMAGE:
            return scans > 1 and scans * image.width * image.height > SCANNED
        scans += match[1] == START_OF_SCAN
        position = match.end()
        if match[1] != START_OF_IMAGE:
            position += int.from_bytes(data[position : position + 2])
    return True
