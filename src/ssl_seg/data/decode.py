"""Reading one image file, by rules that are the same for every dataset.

- JPEG, PNG, WebP, TIFF and BMP, told by content; anything else is refused.
- EXIF orientation is applied. Of an animation the first frame counts.
- Grey, palette, CMYK, YCbCr and Lab become RGB. Transparency is laid over white.
- 16 bits become 8, 65,535 being 255, unless a range is stated; floating-point values need one.
- More bands than colours and transparency are refused, and so are pages of one band each.
- More than 89,478,485 pixels (Pillow's own limit) are refused before decoding.
- A file that ends early is refused, never filled up; so is one whose end is lost, where the format can say so.
"""

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ssl_seg.data.deep_colours import deep_colours, grey_key
from ssl_seg.data.image_file import check_whole, open_image
from ssl_seg.data.levels import Levels, PixelError
from ssl_seg.data.tiff_header import TiffHeader, read_tiff_header

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MAX_PIXELS = 89_478_485


def read_image(
    path: Path | bytes, canvas: int, levels: Levels | None = None
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read an image and reduce it, antialiased, so that its longer side is at most `canvas`.

    Args:
        path: of the file, or its content.
        canvas: in pixels; a smaller image keeps its size.
        levels: what becomes of values of more than 8 bits; by default 65,535 becomes 255.

    Returns:
        (h, w, 3) uint8 RGB, and the height and width in the file (after EXIF orientation).

    Raises:
        ValueError: the file cannot be used; the text says why, and a `PixelError` what can be done.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a global that other libraries set
    try:
        # by handle: what Pillow opens by name it may map, and a mapped TIFF comes out turned wrongly
        with open_image(path) as file:
            check_whole(file)
            image, header = _open(file)
            levels = levels or Levels()
            deep = deep_colours(image, file, FORMATS)  # first: to look for EXIF data may load the image
            size = _true_size(image)
            image.draft("RGB" if image.mode == "YCbCr" else None, _draft_size(image, canvas))
            small = _rgb(image, header, levels) if deep is None else _from_deep(image, *deep, levels)
            small.thumbnail((canvas, canvas), Image.Resampling.BICUBIC, reducing_gap=3.0)
            small = ImageOps.exif_transpose(small)
            return np.asarray(small), size
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(describe_error(error)) from error


def _open(file: IO[bytes]) -> tuple[ImageFile.ImageFile, TiffHeader | None]:
    """An image with the header of a TIFF file, whose bands can all be read, and whose size is bearable.

    Raises:
        PixelError: bands would be dropped, or it is a TIFF of a kind that is not read.
    """
    header = read_tiff_header(file)
    if header:
        header.check()
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        if header is None:
            raise
        advice = "write it with 8 or 16 bits, unsigned, or as 32-bit floating-point numbers"
        raise PixelError(f"{header}, an unsupported format", advice) from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
    return image, header


def read_size(path: Path | bytes) -> tuple[int, int]:
    """The height and width of an image (after EXIF orientation), from its header alone; see `read_image`.

    Raises:
        ValueError: it has none that can be read.
    """
    try:
        with open_image(path) as file, Image.open(file, formats=FORMATS) as image:
            return _true_size(image)
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(describe_error(error)) from error


def describe_error(error: Exception) -> str:
    """What is wrong with a file, in one line and without Python's own words."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or an unsupported format"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _true_size(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8) and image.format != "TIFF"  # turned on opening
    return (image.width, image.height) if turned else (image.height, image.width)


def _draft_size(image: Image.Image, canvas: int) -> tuple[int, int]:
    """At least three times the size wanted, so that a JPEG's own reduction does not show."""
    share = min(1.0, 3.0 * canvas / max(image.size))
    return round(image.width * share), round(image.height * share)


def _from_deep(
    image: ImageFile.ImageFile, values: NDArray[np.uint16], alpha: NDArray[np.uint16] | None, levels: Levels
) -> Image.Image:
    """Colours of 16 bits as RGB."""
    layers = _over_white(levels.scale(values), alpha)
    return layers if image.format == "TIFF" else _keep_exif(layers, image)  # a TIFF is turned on opening


def _rgb(image: ImageFile.ImageFile, header: TiffHeader | None, levels: Levels) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if mode.startswith("I") or mode == "F":
        return _keep_exif(_scaled(image, header, levels), image)
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return _keep_exif(Image.alpha_composite(white, layer).convert("RGB"), image)
    if mode == "LAB":
        return _keep_exif(_lab_to_rgb(image), image)
    return _keep_exif(image.convert("RGB"), image)


def _scaled(image: ImageFile.ImageFile, header: TiffHeader | None, levels: Levels) -> Image.Image:
    """Grey of more than 8 bits as RGB."""
    values = np.asarray(image)
    if header and (header.bits, header.kind) == (32, 1):
        values = values.view(np.uint32)  # Pillow's whole numbers are signed
    grey = levels.scale(values, header.bits if header and header.bits < 16 else 16)
    if header and header.inverted:
        grey = 255 - grey
    return _over_white(grey[..., None], grey_key(image, values))


def _over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint16] | None) -> Image.Image:
    """(H, W, 3) or (H, W, 1) colours as an RGB image, with (H, W, 1) transparency laid over white."""
    if alpha is not None:
        share = alpha / np.float32(65_535)
        pixels = np.rint(255 + (pixels - np.float32(255)) * share).astype(np.uint8)
    return Image.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None
    return converted


def _keep_exif(converted: Image.Image, original: Image.Image) -> Image.Image:
    if "exif" in original.info:
        converted.info["exif"] = original.info["exif"]
    else:
        converted.getexif()[0x0112] = original.getexif().get(0x0112, 1)
    return converted
