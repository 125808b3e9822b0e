"""Opening of pictures: which files are read, within which bounds, and the error of one that cannot be."""

import contextlib
import functools
import importlib.util
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfalexnet.images.bounds import READS, Reader, decoded_pixels, has_too_many_scans, has_too_many_strips

Picture = str | os.PathLike | bytes | Image.Image | np.ndarray
"""A picture that a user gives: a path, the bytes of a file, a Pillow image, or a uint8 array (RGB, RGBA or
grey; height × width [× channels])."""

# No others: Pillow would run Ghostscript for EPS, and some formats are no pictures. MPO is opened as JPEG.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "ICO", "CUR", "JPEG2000", "AVIF", "TGA", "PSD"),
    "HEIF",
)
PLUGINS = ("Tiff", "WebP", "Ico", "Cur", "Jpeg2K", "Avif", "Tga", "Psd")  # Beside those of `Image.preinit`.
HEIC_BRANDS = (b"hei", b"hev", b"mif", b"msf")  # ISO/IEC 23008-12, without the fourth letter.

MAX_PIXELS = 120_000_000  # Of one picture, unless the caller says otherwise; telephones make 108 million.
BUDGET = 1 << 28  # Pixels in work at the same time; each takes about 8 bytes.
MAX_BYTES = 1 << 29  # Of a file.
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Opening a pipe would wait for a writer.
DOWNLOAD = "is an address; download the picture first, and give its file"


class PictureError(ValueError):
    """A picture cannot be read. `name` is the file, or the kind of input; `reason` states what is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # With all arguments, worker processes can return it.
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"

    def without_traceback(self) -> "PictureError":
        """Return the error to keep: the frames of a traceback hold the file and the pixels of the picture."""
        return PictureError(self.name, self.reason)


class Opened(NamedTuple):
    """A picture whose size is known and whose pixels are not yet decoded.

    Attributes:
        name: for messages; see `picture_name`.
        image: the picture.
        data: the bytes of its file, if it has one.
    """

    name: str
    image: Image.Image
    data: bytes | None


@contextlib.contextmanager
def open_picture(picture: Picture, max_pixels: int = MAX_PIXELS) -> Iterator[Opened]:
    """Yield a picture to decode and to resize in the block; any error of the block is one of the picture.

    Blocks of several threads wait for each other where their pictures together have more than BUDGET pixels.

    Raises:
        PictureError: the picture cannot be read, has more than `max_pixels` pixels, or the block raised an error.
        TypeError: the argument is not a `Picture`.
    """
    _check_type(picture)
    name = picture_name(picture)
    with warnings_suppressed:
        try:
            data = None
            if isinstance(picture, np.ndarray):
                image = _from_array(picture)
            elif isinstance(picture, Image.Image):
                image = picture
            else:
                data = picture if isinstance(picture, bytes) else _read_file(name)
                if not data:
                    raise PictureError(name, "empty file")
                if has_too_many_strips(data):
                    raise PictureError(name, f"expected a TIFF of at most {READS} strips or tiles; received more")
                if Image.MAX_IMAGE_PIXELS and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
                    Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses twice as many.
                image = Image.open(Reader(data), formats=picture_formats())
            pixels = _check_bounds(name, image, data, max_pixels)
            with budget.reserved(pixels):
                yield Opened(name, image, data)
        except PictureError:
            raise
        except Image.UnidentifiedImageError:
            raise PictureError(name, _explain_unidentified(data or b"")) from None
        except Image.DecompressionBombError as error:
            raise PictureError(name, f"refused: {error}") from None
        except MemoryError:
            raise PictureError(name, "too large for the memory of this machine") from None
        except Exception as error:  # Pillow's readers raise errors of many types for damaged files.
            raise PictureError(name, f"damaged picture ({error or type(error).__name__})") from error


class _SuppressedWarnings:
    """A context in which no thread issues warnings.

    Pillow warns of defects that it could repair, which the caller cannot act on. Python's warning filters
    are shared by all threads: the first thread to enter replaces them, the last one to leave restores them.
    """

    def __init__(self) -> None:
        self.lock, self.entered, self.filters = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.filters.enter_context(warnings.catch_warnings(action="ignore"))

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.entered -= 1
            if not self.entered:
                self.filters.close()


warnings_suppressed = _SuppressedWarnings()


class _Budget:
    """The number of pixels that all threads may have in work at the same time."""

    def __init__(self) -> None:
        self.free, self.changed = BUDGET, threading.Condition()

    @contextlib.contextmanager
    def reserved(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are free, of a larger picture until no other is in work."""
        pixels = min(pixels, BUDGET)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= pixels)
            self.free -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.free += pixels
                self.changed.notify_all()


budget = _Budget()


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Return the formats that are opened, as Pillow names them; HEIF if pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.preinit()
    for plugin in PLUGINS:  # `Image.init` would import three times as many.
        with contextlib.suppress(ImportError):  # Pillow is built without the library of this format.
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def picture_name(picture: Picture) -> str:
    """Return the name of a picture for messages: its file, or the kind of input."""
    if isinstance(picture, str | os.PathLike):
        return os.fspath(picture) or "''"
    kind = {bytes: "bytes", np.ndarray: "array"}.get(type(picture), "image")
    return getattr(picture, "filename", "") or kind


def _check_type(picture: Any) -> None:
    if not isinstance(picture, Picture):
        raise TypeError(
            f"Expected a picture as a path, bytes, a PIL.Image or a uint8 array. Received: {type(picture).__name__}"
        )
    if isinstance(picture, np.ndarray) and picture.dtype != np.uint8:
        raise TypeError(
            f"Expected an array of uint8, grey levels 0–255. Received: {picture.dtype}. "
            "Convert it: (array * 255).round().astype('uint8') if it holds 0–1."
        )


def _read_file(name: str) -> bytes:
    """Return the content of a regular file; opening any other kind neither blocks nor reads."""
    if "\0" in name:
        raise PictureError(name, "is not the name of a file")
    try:
        with open(name, "rb", opener=lambda path, flags: os.open(path, flags | NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureError(name, "is a device or a pipe, not a file")
            if status.st_size > MAX_BYTES:
                raise PictureError(name, f"expected at most {MAX_BYTES} bytes; received {status.st_size}")
            return file.read(status.st_size)
    except IsADirectoryError:
        raise PictureError(name, _explain_folder(name)) from None
    except OSError as error:
        raise PictureError(name, DOWNLOAD if is_address(name) else (error.strerror or str(error)).lower()) from None


def _check_bounds(name: str, image: Image.Image, data: bytes | None, max_pixels: int) -> int:
    """Return how many pixels are decoded. Raise `PictureError` if these, or the scans of a JPEG, are too many."""
    shown = image.width * image.height
    pixels = shown if data is None else decoded_pixels(image)
    size = f"{image.width}×{image.height}"
    if pixels > max_pixels:
        more = "" if pixels == shown else f", whose decoding takes as much as {pixels} pixels"
        raise PictureError(name, f"expected at most {max_pixels} pixels (max_pixels); received {size}{more}")
    if data and has_too_many_scans(image, data):
        raise PictureError(name, f"expected a JPEG of a few scans; received too many for {size} pixels")
    return pixels


def is_address(name: str) -> bool:
    """Return whether a name is the address of a web page or a file on a server; none is downloaded."""
    return name.lower().startswith(("http://", "https://"))


def _explain_folder(name: str) -> str:
    """Return why a folder was given for a picture: `list_pictures` lists one that cannot be read."""
    try:
        os.scandir(name).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "is a folder, not a picture"


def _explain_unidentified(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:11] in HEIC_BRANDS:
        return "HEIC; to read it: pip install 'tfalexnet[heic]'"
    return "not a picture in a format that is read"


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise PictureError(
            "array",
            f"expected height × width [× 1, 3 or 4 channels], received shape {array.shape}; "
            "give several pictures as a list",
        )
    return Image.fromarray(array)
