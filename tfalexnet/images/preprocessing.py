"""From a picture to the array that a network's weights expect."""

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfalexnet.images.decode import decode_opened, decode_plain_jpeg
from tfalexnet.images.opening import MAX_PIXELS, Picture, PictureError, open_picture
from tfalexnet.images.resizing import resize_antialiased, resize_bilinear

LARGEST = 1 << 12  # Pixels a side. A damaged or hostile file could contain any number.
LARGEST_RATIO = 4  # Of size and crop.

Box = tuple[float, float, float, float]
"""Top, left, bottom and right of a part of a picture, in pixels from its corner."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Resizing, cropping, order of channels, scaling and subtraction of a mean.

    The result is `(crop of the resized picture · scale − mean) / std`, float32, crop×crop×channels.

    Attributes:
        resize: "squash" resizes the picture to size×size; "shorter side" keeps its proportions, and the centre of
            size×size is used; "none" leaves it as it is, and the centre of size×size is used.
        size: pixels of the resized picture: of both sides, or of the shorter side. At most 4096 and 4 times `crop`.
        crop: pixels of each side of the centre crop.
        antialias: False is OpenCV's INTER_LINEAR, in floating point; True is Pillow's BILINEAR, rounded
            to integer pixel values.
        channels: order of the channels; "L" is one grey channel.
        scale: factor for the pixel values 0–255.
        mean: subtracted after scaling, in the order of `channels`: one number per channel, or a mean
            picture of crop×crop pixels or more, of which the centre is used.
        std: divisor after scaling, one number or one per channel.
    """

    resize: Literal["squash", "shorter side", "none"]
    size: int
    crop: int
    antialias: bool
    channels: Literal["RGB", "BGR", "L"]
    mean: tuple[float, ...] | np.ndarray
    scale: float = 1.0
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, choices in {"resize": ("squash", "shorter side", "none"), "channels": ("RGB", "BGR", "L")}.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"Expected `{name}` to be one of {', '.join(choices)}. Received: {value!r}")
        sides = (self.crop, self.size)
        is_int = all(type(side) is int for side in sides)
        if not is_int or not 0 < self.crop <= self.size <= min(LARGEST, LARGEST_RATIO * self.crop):
            expected = f"0 < crop <= size <= {LARGEST}, and size at most {LARGEST_RATIO} times crop"
            raise ValueError(f"Expected {expected}. Received: crop={self.crop}, size={self.size}")
        channels = len(self.channels)
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        is_picture = mean.ndim == 3 and min(mean.shape[:2]) >= self.crop and mean.shape[2] == channels
        if not (mean.shape == (channels,) or is_picture) or not np.isfinite(mean).all():
            raise ValueError(
                f"Expected a mean of {channels} finite numbers, or a picture. Received: shape {mean.shape}"
            )
        if std.shape not in ((1,), (channels,)) or not (std > 0).all() or not np.isfinite([*std, self.scale]).all():
            raise ValueError(f"Expected finite `scale` and positive `std`. Received: {self.scale!r} and {self.std!r}")

    def __eq__(self, other: object) -> bool:
        """Return whether both give the same result for every picture; means are compared in float32."""
        return isinstance(other, Preprocessing) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    @functools.cached_property
    def _key(self) -> tuple[Any, ...]:
        mean = np.asarray(self.mean, np.float32)
        return (*(self._fields() | {"mean": None, "std": tuple(self.std)}).values(), mean.shape, mean.tobytes())

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one preprocessed picture."""
        return self.crop, self.crop, len(self.channels)

    def seen_box(self, height: int, width: int) -> Box:
        """Return the part of a picture of this size that becomes the input of the network."""
        if self.resize == "none":
            top, left = ((side - self.crop) / 2 for side in (height, width))
            return top, left, top + self.crop, left + self.crop
        sides = (min(height, width),) * 2 if self.resize == "shorter side" else (height, width)
        tall, wide = (side * self.crop / self.size for side in sides)
        top, left = (height - tall) / 2, (width - wide) / 2
        return top, left, top + tall, left + wide

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can store; a mean picture is replaced by its shape and hash."""
        mean = np.asarray(self.mean, np.float32)
        if mean.ndim > 1:
            stored = {"shape": list(mean.shape), "sha256": hashlib.sha256(mean.tobytes()).hexdigest()}
        else:
            stored = np.asarray(self.mean).tolist()
        return self._fields() | {"mean": stored, "std": list(self.std)}

    def summary(self, view: str = "") -> str:
        """Return the fields as one line of text, with `view` in place of the centre crop if it is given."""
        mean = np.asarray(self.mean)
        sides = {"squash": f"squashed to {self.size}×{self.size}", "shorter side": f"shorter side to {self.size}"}
        antialiased = "antialiased" if self.antialias else "not antialiased"
        resized = "not resized" if self.resize == "none" else f"{sides[self.resize]}, bilinear, {antialiased}"
        subtracted = "mean picture" if mean.ndim > 1 else f"({', '.join(f'{level:.6g}' for level in mean)})"
        divided = ", ".join(f"{level:.6g}" for level in self.std)
        levels = f"({self.channels} · {self.scale:.6g} − {subtracted}) / ({divided})"
        return f"{resized}; {view or f'the centre {self.crop}×{self.crop}'}; {levels}"

    def __call__(self, picture: Picture) -> np.ndarray:
        """Return one preprocessed picture, float32, (crop, crop, channels).

        Raises:
            PictureError: the picture cannot be read.
            TypeError: the argument is not a `Picture`.
        """
        return self.views(picture, 1)[0]

    def views(self, picture: Picture, crops: Literal[1, 10] = 1, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return preprocessed crops of one picture, float32, (crops, crop, crop, channels).

        One crop is the centre. Ten are those of the paper (section 4.1): the four corners and the centre
        of the size×size picture, then the mirror images of these five. A mean picture is cropped at the
        same position as the picture. `max_pixels` is as for `resized`.

        Raises:
            PictureError, TypeError: as for a call.
            ValueError: `crops` is neither 1 nor 10.
        """
        if crops not in (1, 10):
            raise ValueError(f"Expected 1 or 10 crops. Received: {crops!r}")
        pixels, end = self.resized(picture, max_pixels), self.size - self.crop
        if crops == 1:
            return self.normalize(centre_crop(pixels, self.crop))[None]
        corners = [(0, 0), (0, end), (end, 0), (end, end), (end // 2, end // 2)]
        upright = [self.normalize(_crop(pixels, *corner, self.crop), corner) for corner in corners]
        return np.array(upright + [view[:, ::-1] for view in upright])

    def resized(self, picture: Picture, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return the picture before it is cropped: float32, (size, size, channels), RGB or grey, 0–255.

        Of a picture whose shorter side has `size` pixels, it is the centre; the rest is not computed.

        Args:
            picture: the picture.
            max_pixels: a picture of more pixels is refused.

        Raises:
            PictureError, TypeError: as for a call.
        """
        mode = "L" if self.channels == "L" else "RGB"
        with open_picture(picture, max_pixels) as opened:
            pixels = None if self.antialias else decode_plain_jpeg(opened, mode)
            if pixels is not None:
                height, width = pixels.shape[:2]
            else:
                pixels = decode_opened(opened)
                pixels = pixels if pixels.mode == mode else pixels.convert(mode)
                width, height = pixels.size
            if self.resize == "none" and min(height, width) < self.size:
                expected = f"expected at least {self.size}×{self.size} pixels, as it is not resized"
                raise PictureError(opened.name, f"{expected}; received {width}×{height}")
            resize = resize_antialiased if self.antialias else resize_bilinear
            return resize(pixels, *self._resized_shape(height, width), self.size).astype(np.float32, copy=False)

    def normalize(self, pixels: Any, corner: tuple[int, int] | None = None) -> Any:
        """Return cropped pixels with their channels ordered, scaled, and with the mean subtracted.

        Args:
            pixels: float32 array or tensor (…, crop, crop, channels), RGB or grey, 0–255.
            corner: row and column at which a mean picture of size×size pixels is cropped; None is the centre.

        Returns:
            The same type and shape.
        """
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        mean = self._mean
        if corner is not None and np.shape(self.mean)[:2] == (self.size, self.size):
            mean = _crop(np.asarray(self.mean, np.float32), *corner, self.crop)
        # Operations without effect are skipped: BVLC's preprocessing has neither `scale` nor `std`.
        pixels = (pixels if self.scale == 1 else pixels * np.float32(self.scale)) - mean
        return pixels if self.std == (1.0,) else pixels / np.asarray(self.std, np.float32)

    @functools.cached_property
    def _mean(self) -> np.ndarray:
        """The mean for the centre crop, (crop, crop, channels).

        A mean per channel is expanded to a picture, which NumPy subtracts twice as fast.
        """
        mean = np.asarray(self.mean, np.float32)
        return centre_crop(mean, self.crop) if mean.ndim == 3 else np.tile(mean, (self.crop, self.crop, 1))

    def _resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing."""
        if self.resize == "none":
            return height, width
        if self.resize == "squash":
            return self.size, self.size
        shorter = min(height, width)
        return max(self.size, height * self.size // shorter), max(self.size, width * self.size // shorter)


# Caffe's mean pixel values of ILSVRC 2012, in B, G, R (BVLC/caffe, data/ilsvrc12).
ILSVRC_MEAN_BGR = (104.00699, 116.66877, 122.67891)

# Section 2 of the paper: the shorter side to 256, the centre crop, minus the mean of the training pictures;
# here their mean per channel, as published by Caffe.
PAPER = Preprocessing("shorter side", 256, 227, antialias=True, channels="RGB", mean=ILSVRC_MEAN_BGR[::-1])

BVLC = Preprocessing("squash", 256, 227, antialias=False, channels="BGR", mean=ILSVRC_MEAN_BGR)

# Mean and standard deviation of ImageNet's pixel values, 0–1, in R, G, B (pytorch/vision, references/classification).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = Preprocessing(
    "shorter side", 256, 224, antialias=True, channels="RGB", scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD
)

SIZE = 256  # Pixels of the resized picture of all three.

# Published ways to resize, by the names of users. The first is that of Caffe's ImageNet tutorial, by OpenCV.
RESIZES: dict[str, dict[str, Any]] = {
    "caffe": {"resize": BVLC.resize, "antialias": BVLC.antialias},
    "shorter-side": {"resize": PAPER.resize, "antialias": PAPER.antialias},
    "torchvision": {"resize": TORCHVISION.resize, "antialias": TORCHVISION.antialias},
    "none": {"resize": "none"},
}
CROPS = ("centre", "none")


def with_protocol(preprocessing: Preprocessing, resize: str | None = None, crop: str | None = None) -> Preprocessing:
    """Return a preprocessing whose pictures are resized or cropped in another way, with the same levels.

    Args:
        preprocessing: that of the weights.
        resize: "caffe" squashes to 256×256; "shorter-side", as in the paper, and "torchvision" resize the shorter side
            to 256, antialiased. Inputs below 224 or above 256 pixels get the same share, 256 of 227 pixels. "none"
            does not resize. None is that of the weights.
        crop: "centre" uses the centre of the resized picture; "none" resizes to the input itself, so that a squashed
            picture is used whole. None is "centre" with a `resize`, else that of the weights.

    Raises:
        ValueError: there is no such name, or neither resizing nor cropping is wanted.
    """
    for name, value, choices in (("resize", resize, RESIZES), ("crop", crop, CROPS)):
        if value is not None and value not in choices:
            raise ValueError(f"Expected `{name}` to be one of {', '.join(choices)}. Received: {value!r}")
    changed, side = dataclasses.replace(preprocessing, **RESIZES[resize] if resize else {}), preprocessing.crop
    if changed.resize == "none" and crop == "none":
        raise ValueError("Expected pictures to be resized or cropped. Received: resize='none' and crop='none'")
    if resize is None and crop is None:
        return preprocessing
    published = SIZE if TORCHVISION.crop <= side <= SIZE else side * SIZE // PAPER.crop
    return dataclasses.replace(changed, size=side if "none" in (changed.resize, crop) else published)


def centre_crop(pixels: np.ndarray, crop: int) -> np.ndarray:
    """Return the crop×crop pixels in the centre of a resized picture; halves are rounded down, as by Caffe."""
    top, left = ((side - crop) // 2 for side in pixels.shape[:2])
    return _crop(pixels, top, left, crop)


def _crop(pixels: np.ndarray, top: int, left: int, crop: int) -> np.ndarray:
    return pixels[top : top + crop, left : left + crop]
