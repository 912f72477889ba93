"""Reading one mask file into class indices, exactly.

- `colours`: the RGB colour of a pixel, looked up in a palette. A palette PNG is looked up by the
  colours it shows.
- `indices`: a whole number for each pixel, of a grey, palette, 16-bit or floating-point mask, or of an RGB
  mask whose three channels are equal. A table says which class it is; 255 is none unless it is a class.

A JPEG is refused, for its colours are not exact, and so are half-transparent pixels. EXIF orientation is
applied, as it is to images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.decode import FORMATS, MAX_PIXELS, describe_error
from ssl_seg.data.image_file import check_whole, open_regular
from ssl_seg.data.palettes import UNKNOWN_CLASS, Palette, pack_rgb, unpack_rgb
from ssl_seg.errors import pluralize

S = TypeVar("S", bound=np.generic)

_SHOWN = 3
_LARGEST = 65_535  # of a value


@dataclass(frozen=True)
class MaskReader:
    """How masks are read.

    Attributes:
        palette: the classes.
        encoding: what a pixel holds.
        threshold_channels: each channel counts as 0 below 128 and as 255 from there on, before it is looked up.
        unknown_class: what a value that is no class is read as; None makes it an error.
        values: of indices, those of each class; by default those of the palette.
    """

    palette: Palette
    encoding: Literal["colours", "indices"] = "colours"
    threshold_channels: bool = False
    unknown_class: int | None = None
    values: tuple[tuple[int, ...], ...] | None = None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The class of every pixel, (H, W), 255 where there is none.

        Raises:
            ValueError: it cannot be read, or has a value that is no class; the text says why.
        """
        image = open_mask(path)
        if self.encoding == "colours":
            return self.classes_of(pack_rgb(colours_of(image, bits=self.threshold_channels)))
        return self.classes_of(values_of(image, bits=self.threshold_channels))

    def classes_of(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The class of every pixel of (H, W) values: indices, or colours as `pack_rgb` numbers them.

        Raises:
            ValueError: a value is no class; the text says which.
        """
        classes: NDArray[np.uint8]
        if self.encoding == "colours":
            classes = self.palette.table[values]
        else:
            classes = self._table[np.where((values >= 0) & (values <= _LARGEST), values, _LARGEST + 1)]
        unknown = classes == UNKNOWN_CLASS
        if unknown.any():
            if self.unknown_class is None:
                raise ValueError(self._format_unknown(values[unknown]))
            classes[unknown] = self.unknown_class
        return classes

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        """(65537,) class of every value; the last stands for all others."""
        table = np.full(_LARGEST + 2, UNKNOWN_CLASS, dtype=np.uint8)
        table[IGNORE_INDEX] = IGNORE_INDEX
        for index, values in enumerate(self.ids or [(index,) for index in range(len(self.palette.names))]):
            table[list(values)] = index
        table[list(self.palette.void_values)] = IGNORE_INDEX
        return table

    @property
    def ids(self) -> tuple[tuple[int, ...], ...]:
        """Of indices, the values of each class; empty: 0, 1, ..."""
        return self.values or self.palette.values

    @property
    def guesses_void(self) -> bool:
        """Whether 255 is read as no class only because that is the custom."""
        is_class = any(IGNORE_INDEX in values for values in self.ids)
        return self.encoding == "indices" and not is_class and IGNORE_INDEX not in self.palette.void_values

    def _format_unknown(self, values: NDArray[Any]) -> str:
        found, counts = np.unique(values, return_counts=True)
        most = sorted(zip(counts.tolist(), found.tolist(), strict=True), reverse=True)
        if self.encoding == "colours":
            shown = [
                f"{pluralize(count, 'pixel')} of color {unpack_rgb(code)}" for count, code in most[:_SHOWN]
            ]
            what = "is not in the palette"
        else:
            shown = [f"{pluralize(count, 'pixel')} of index {index:g}" for count, index in most[:_SHOWN]]
            what = f"is not one of the classes {', '.join(self.palette.names)}"
            if self.palette.by == "indices":
                what = f"is not one of {len(self.palette.names)} classes"
        more = [f"{len(most) - _SHOWN} other values"] if len(most) > _SHOWN else []
        return f"{', '.join(shown + more)}, which {what} (stray=ignore ignores them)"


def downsample_mask(mask: NDArray[S], height: int, width: int) -> NDArray[S]:
    """The class at the centre of each of `height` x `width` equal cells of an (H, W) mask."""
    if mask.shape == (height, width):
        return mask
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    cells: NDArray[S] = mask[rows[:, None], columns[None, :]]
    return cells


def open_mask(path: Path) -> Image.Image:
    """A decoded mask, turned as its EXIF data say.

    Raises:
        ValueError: it cannot be used; the text says why.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a global that other libraries set
    try:
        with open_regular(path) as file:
            check_whole(file)
            image = Image.open(file, formats=FORMATS)
            if image.format == "JPEG":
                raise ValueError("it is a JPEG, whose colors are inexact")
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            image.load()
            return ImageOps.exif_transpose(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(describe_error(error)) from error


def colours_of(image: Image.Image, *, bits: bool = False) -> NDArray[np.uint8]:
    """The (H, W, 3) colours that a mask shows.

    A colour that a palette PNG or a colour key calls transparent is still a colour; an alpha channel hides it.

    Raises:
        ValueError: it shows none, or they are half hidden.
    """
    if image.mode in ("RGBA", "LA", "PA"):
        image = _opaque(image)
    elif image.mode not in ("RGB", "L", "P", "1"):
        values = values_of(image)
        if values.min() < 0 or values.max() > 255:
            raise ValueError(f"pixel mode {image.mode}; expected 8-bit RGB colors")
        image = Image.fromarray(values.astype(np.uint8))
    image.info.pop("transparency", None)
    rgb = np.asarray(image.convert("RGB"))
    return np.where(rgb >= 128, 255, 0).astype(np.uint8) if bits else rgb


def values_of(image: Image.Image, *, bits: bool = False) -> NDArray[Any]:
    """The (H, W) whole numbers that a mask holds: of a palette PNG the indices.

    Raises:
        ValueError: it holds none.
    """
    mode = image.mode
    if mode in ("LA", "RGBA", "PA"):
        image = _opaque(image)
    pixels = np.asarray(image)
    if mode == "1":
        pixels = pixels.astype(np.uint8)
    elif pixels.ndim == 3:
        if mode not in ("RGB", "RGBA") or not is_grey(pixels):
            raise ValueError(f"pixel mode {mode}; expected class indices")
        pixels = pixels[:, :, 0]
    elif pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
            fractions = pixels[~(pixels == np.rint(pixels))]
            shown = f"{fractions[0]:g}" if fractions.size else "infinity"
            raise ValueError(f"its pixels are non-integer floating-point values, such as {shown}")
        pixels = np.clip(pixels, -1.0, 1e9).astype(np.int64)
    elif not (mode in ("L", "P", "LA", "PA") or mode.startswith("I")):
        raise ValueError(f"pixel mode {mode}; expected class indices")
    return np.where(pixels >= 128, 255, 0).astype(np.uint8) if bits else pixels


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether the three channels of (H, W, 3) pixels are equal."""
    return bool((pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 0] == pixels[:, :, 2]).all())


def palette_of(image: Image.Image) -> list[tuple[int, int, int]]:
    """The colours of a palette PNG, by their indices."""
    flat: Sequence[int] = image.getpalette("RGB") or []
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) // 3 * 3, 3)]


def _opaque(image: Image.Image) -> Image.Image:
    """Without its alpha channel.

    Raises:
        ValueError: it hides something.
    """
    if np.asarray(image.getchannel("A")).min() < 255:
        raise ValueError("it has transparent pixels")
    return image.convert({"RGBA": "RGB", "LA": "L", "PA": "P"}[image.mode])
