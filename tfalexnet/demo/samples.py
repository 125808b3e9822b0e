"""Pictures to try that need no file: what single filters of the first convolution answer to, and a signal."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 256
DISTANCE = 16  # Pixels from stripe to stripe.
CAT = Path(__file__).with_name("chelsea.jpg")  # examples/chelsea.png, smaller.


def draw_samples(folder: Path) -> list[Path]:
    """Write the pictures into a folder and return their files; a photo of a cat is the first."""
    drawings = {"stripes": stripes(), "colours": colours(), "traffic light": traffic_light()}
    paths = [folder / CAT.name, *(folder / f"{name}.png" for name in drawings)]
    paths[0].write_bytes(CAT.read_bytes())
    for path, image in zip(paths[1:], drawings.values(), strict=True):
        image.save(path)
    return paths


def stripes() -> Image.Image:
    """Return four fields of grey stripes in four directions."""
    y, x = np.mgrid[: SIDE // 2, : SIDE // 2]
    directions = [(1, 0), (0, 1), (0.7071, 0.7071), (0.7071, -0.7071)]
    waves = [127.5 * (1 + np.sin(2 * np.pi * (a * x + b * y) / DISTANCE)) for a, b in directions]
    return Image.fromarray(np.block([waves[:2], waves[2:]]).round().astype(np.uint8))


def colours() -> Image.Image:
    """Return a circle of all hues, paler to the centre, on grey."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(x, y) / (0.45 * SIDE)
    hue = (np.arctan2(y, x) / (2 * np.pi) % 1) * 255
    levels = np.stack([hue, 255 * np.minimum(radius, 1), np.full_like(hue, 255)], axis=-1)
    image = np.array(Image.fromarray(levels.astype(np.uint8), "HSV").convert("RGB"))
    image[radius > 1] = 128
    return Image.fromarray(image)


def traffic_light() -> Image.Image:
    """Return a traffic light in front of the sky."""
    image = Image.new("RGB", (SIDE, SIDE), "#9cc4e4")
    draw = ImageDraw.Draw(image)
    draw.rectangle((120, 190, 136, SIDE), fill="#555555")
    draw.rounded_rectangle((84, 20, 172, 200), 18, fill="#222222", outline="#111111", width=3)
    for top, colour in ((30, "#e03020"), (86, "#4a3c10"), (142, "#0f3a1c")):
        draw.ellipse((104, top, 152, top + 48), fill=colour)
    return image
