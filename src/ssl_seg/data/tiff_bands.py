"""Bands of TIFF files, which Pillow reads only as colours; and where on earth a GeoTIFF lies."""

import logging
import math
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from ssl_seg.data.decode import MAX_PIXELS
from ssl_seg.data.image_file import open_regular
from ssl_seg.data.levels import PixelError
from ssl_seg.data.tiff_header import first_tags
from ssl_seg.utils.files import atomic_file

_INSTALL = "pip install 'ssl-seg[bands]'"
_MOST_VALUES = 16 * MAX_PIXELS  # of an image: 13 bands of the largest one, or hundreds of a small one
# ModelPixelScale, ModelTiepoint, ModelTransformation, and GeoKeys: directory, numbers, texts
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)


class TiffPixels(NamedTuple):
    """Values of an image as its file has them.

    Attributes:
        values: (H, W, C).
        bits: of a sample, where fewer than its type has.
        inverted: 0 is white.
        nodata: the value that says that there is none, by GDAL's tag.
    """

    values: NDArray[Any]
    bits: int = 16
    inverted: bool = False
    nodata: float | None = None


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a file begins as TIFF files do; it is at its start afterwards."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start in PREFIXES


def read_tiff(file: IO[bytes]) -> TiffPixels:
    """All bands of a TIFF file: samples of its pixels, or pages of one band each.

    Raises:
        PixelError: the package `tifffile` is missing, or one that decompresses; a palette; too many axes.
        ValueError: too many pixels, or the file is damaged.
    """
    try:
        import tifffile
    except ImportError as error:
        raise PixelError("to read bands of TIFF files, tifffile is needed", _INSTALL) from error
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong is raised, too
    with tifffile.TiffFile(file) as opened:
        page: Any = opened.pages[0]
        series: Any = opened.series[0]
        _check(series, file)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise PixelError("colours of a palette are no bands", "gdal_translate -expand rgb IN.tif OUT.tif")
        try:
            values = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            what = f"compressed as {page.compression.name}, for which imagecodecs is needed"
            raise PixelError(what, _INSTALL) from error
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        nodata, orientation = page.tags.valueof(42113), page.tags.valueof(274, 1)
        values = turned(_bands_last(values, series.axes), int(orientation))
        bits = int(page.bitspersample) if values.dtype == np.uint16 else 16
        return TiffPixels(values, bits, inverted, _number(nodata))


def _check(series: Any, file: IO[bytes]) -> None:
    """See that an image is one, of a bearable size, and that all of it is in the file.

    Raises:
        PixelError, ValueError: see `read_tiff`.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    height, width = sizes["Y"], sizes["X"]
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
    if math.prod(series.shape) > _MOST_VALUES:  # in compressed form a few bytes can ask for terabytes
        raise ValueError(f"{math.prod(series.shape):,} values, more than {_MOST_VALUES:,}")
    if sum(size > 1 for axis, size in sizes.items() if axis not in "YX") > 1:
        shape = " x ".join(map(str, series.shape))
        raise PixelError(
            f"its axes {series.axes} of {shape} are more than bands", "write one image of all bands"
        )
    end = file.seek(0, os.SEEK_END)
    for page in filter(None, series.pages):
        segments = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + count > end for offset, count in segments):
            raise ValueError("the file is truncated: a strip or tile lies behind its end")


def _bands_last(values: NDArray[Any], axes: str) -> NDArray[Any]:
    """(H, W, C), of an array of which two axes are Y and X, and at most one other is longer than 1."""
    kept = [axis for axis, size in zip(axes, values.shape, strict=True) if axis in "YX" or size > 1]
    sizes = [size for axis, size in zip(axes, values.shape, strict=True) if axis in "YX" or size > 1]
    values = np.moveaxis(values.reshape(sizes), [kept.index("Y"), kept.index("X")], [0, 1])
    values = values if values.ndim == 3 else values[..., None]
    return values * np.uint8(255) if values.dtype == np.bool_ else values


def _number(text: object) -> float | None:
    """What GDAL writes for no data, as a number."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, C) values upright, from the orientation of EXIF or TIFF, 1 to 8."""
    values = values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(values, flips)


def tiff_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a TIFF file of any number of bands, upright, from its header; None of another file."""
    with open_regular(path) as file:
        tags = first_tags(file)
    if tags is None or 256 not in tags or 257 not in tags:
        return None
    height, width = int(tags[257]), int(tags[256])
    return (width, height) if tags.get(274, 1) in (5, 6, 7, 8) else (height, width)


def georeference(path: Path) -> ImageFileDirectory_v2 | None:
    """The tags that say where on earth the pixels of a GeoTIFF lie; None of other files, and of turned ones."""
    try:
        with open_regular(path) as file:
            tags = first_tags(file)
    except (OSError, ValueError):
        return None
    if tags is None or 34735 not in tags or tags.get(274, 1) != 1:
        return None
    found = ImageFileDirectory_v2()
    for tag in GEO_TAGS:
        if tag in tags:
            found.tagtype[tag] = tags.tagtype[tag]
            found[tag] = tags[tag]
    return found


def save_geotiff(path: Path, pixels: NDArray[np.uint8], tags: ImageFileDirectory_v2) -> None:
    """Write (H, W) or (H, W, 3) pixels that lie where the tags of `georeference` say.

    Raises:
        ResourceError: it cannot be written.
    """
    with atomic_file(path) as file:
        Image.fromarray(pixels).save(file, format="TIFF", compression="tiff_adobe_deflate", tiffinfo=tags)
