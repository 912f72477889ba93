"""Images of other channels than red, green and blue: which bands of a file are read, and how people see them.

Bands are numbered from 1, as in GDAL and QGIS. All of them have 8 bits after reading: values of more are scaled by a
range, see `Levels`. Nothing is made of them that is made of colours: no transparency over white, no grey in threes.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ssl_seg.data.decode import FORMATS, MAX_PIXELS, describe_error
from ssl_seg.data.deep_colours import deep_colours
from ssl_seg.data.image_file import check_whole, open_regular
from ssl_seg.data.levels import Levels, PixelError
from ssl_seg.data.tiff_bands import TiffPixels, is_tiff, read_tiff, turned
from ssl_seg.errors import UsageError, pluralize

_MOST = 4096
_COLOURS = {2: 1, 4: 3}  # of two or four bands the last one is taken for transparency, where none are chosen
_EXAMPLE = "-o data.bands=4,3,2  # numbered from 1; 1-13 is all of thirteen"
_PLAIN = ("L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I", "F")  # modes whose pixels are bands


def parse_bands(text: str | None) -> tuple[int, ...]:
    """`4,3,2` or `1-13`, numbered from 1; empty where none are chosen.

    Raises:
        UsageError: it is no list of numbers.
    """
    bands: list[int] = []
    for word in re.split(r"\s*,\s*", text.strip()) if text is not None else ():
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", word)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not 1 <= first <= last <= _MOST:
            raise UsageError(f"bands={text} is no list of bands", next=_EXAMPLE)
        bands += range(first, last + 1)
    return tuple(bands)


def read_bands(
    path: Path, canvas: int, bands: Sequence[int], levels: Levels
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read some bands of an image and reduce them, each as `read_image` reduces a colour.

    Args:
        path, canvas, levels: see `read_image`.
        bands: numbers, from 1.

    Returns:
        (h, w, C) uint8, one channel for each of `bands`, and the height and width in the file.

    Raises:
        ValueError: the file cannot be used; the text says why, and a `PixelError` what can be done.
    """
    pixels = raw_bands(path, bands)
    values = pixels.values
    if values.dtype == np.uint8:
        scaled = values
    else:
        scaled = levels.scale(values, min(16, pixels.bits))
    if pixels.inverted:
        scaled = 255 - scaled
    return reduced_bands(scaled, canvas), scaled.shape[:2]


def reduced_bands(values: NDArray[np.uint8], canvas: int) -> NDArray[np.uint8]:
    """(H, W, C) uint8 reduced, antialiased, so that the longer side is at most `canvas`; a smaller one stays."""
    if max(values.shape[:2]) <= canvas:
        return np.ascontiguousarray(values)

    def reduce(image: Image.Image) -> Image.Image:
        image.thumbnail((canvas, canvas), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return image

    return each_band(values, reduce)


def each_band(values: NDArray[np.uint8], change: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    """(H, W, C) uint8 whose bands are changed one by one, each as a grey image of Pillow."""
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(values, 2, 0))
    return np.stack([np.asarray(change(band)) for band in bands], axis=2)


def raw_bands(path: Path, bands: Sequence[int] = ()) -> TiffPixels:
    """The values of an image as its file has them, upright.

    Args:
        bands: numbers, from 1; none: all but transparency.

    Raises:
        ValueError: see `read_bands`.
    """
    try:
        with open_regular(path) as file:
            check_whole(file)
            pixels = read_tiff(file) if is_tiff(file) else _read_other(file)
    except ValueError:
        raise
    except Exception as error:  # decoders raise many kinds, not all of them OSError
        raise ValueError(describe_error(error)) from error
    count = int(pixels.values.shape[2])
    if bands and max(bands) > count:
        what = f"band {max(bands)} is not in the file, which has {pluralize(count, 'band')}"
        raise PixelError(what, f"-o data.bands=1{f'-{count}' * (count > 1)}")
    chosen = [band - 1 for band in bands] or [*range(_COLOURS.get(count) or count)]
    return pixels._replace(values=pixels.values[..., chosen])


def _read_other(file: IO[bytes]) -> TiffPixels:
    """PNG, JPEG, WebP and BMP: grey, colours, and transparency as a band of its own."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a global that other libraries set
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
    if (deep := deep_colours(image, file, FORMATS)) is not None:
        colours, alpha = deep
        values: NDArray[Any] = colours if alpha is None else np.concatenate([colours, alpha], axis=2)
    else:
        plain = image if image.mode in _PLAIN else image.convert("L" if image.mode == "1" else "RGB")
        values = np.asarray(plain)
    values = values if values.ndim == 3 else values[..., None]
    return TiffPixels(turned(values, image.getexif().get(0x0112, 1)))


def as_rgb(pixels: Any) -> Any:
    """(..., C, H, W) pixels of any number of channels as people see them, (..., 3, H, W).

    Three channels stay as they are, of more the first three are shown, and of one or two the first one, as grey.

    Args:
        pixels: a tensor, or an array.
    """
    count = pixels.shape[-3]
    if count == 3:
        return pixels
    return pixels[..., :3, :, :] if count > 3 else pixels[..., [0, 0, 0], :, :]
