"""Pictures of random pixels, and their encodings."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def noise(count: int, size: tuple[int, int] = (40, 50)) -> list[np.ndarray]:
    """Pictures of random pixels, uint8 RGB."""
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), "uint8"))


def encode(picture: np.ndarray | Image.Image, format: str = "PNG", mode: str | None = None, **options) -> bytes:
    """The bytes of a picture's file, converted to a mode of Pillow first if one is given."""
    image, buffer = picture if isinstance(picture, Image.Image) else Image.fromarray(picture), io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, format, **options)
    return buffer.getvalue()


def fill(folder: Path, count: int) -> None:
    """Write small pictures into a folder and its subfolder `deep`; number 7 is empty, every 50th holds text."""
    generator = np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for number in range(count):
        file = folder / ("deep" if number % 3 else "") / f"{number:04}.png"
        if number == 7:
            file.touch()
        elif number % 50 == 49:
            file.write_text("no picture")
        else:
            Image.fromarray(generator.integers(0, 256, (9, 8, 3), "uint8")).save(file)
