"""Reading one image file, by rules that are the same for every dataset.

- JPEG, PNG, WebP, TIFF and BMP, told by content; anything else is refused.
- EXIF orientation is applied. Of an animation the first frame counts.
- Grey, palette, CMYK, YCbCr and Lab become RGB. Transparency is laid over white.
- 16-bit grey is scaled to 8 bits, 65,535 to 255; floating-point images are refused.
- More than 89,478,485 pixels (Pillow's own limit) are refused before decoding.
- A file that ends early is refused, never filled up.
"""

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MAX_PIXELS = 89_478_485


def read_image(path: Path, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read an image and reduce it, antialiased, so that its longer side is at most `canvas`.

    Args:
        path: of the file.
        canvas: in pixels; a smaller image keeps its size.

    Returns:
        (h, w, 3) uint8 RGB, and the height and width in the file (after EXIF orientation).

    Raises:
        ValueError: the file cannot be used; the text says why.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a global that other libraries set
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("not a regular file")
        if info.st_size == 0:
            raise ValueError("the file is empty")
        # by handle: what Pillow opens by name it may map, and a mapped TIFF comes out turned wrongly
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            size = _true_size(image)
            image.draft("RGB" if image.mode == "YCbCr" else None, _draft_size(image, canvas))
            small = _rgb(image)
            small.thumbnail((canvas, canvas), Image.Resampling.BICUBIC, reducing_gap=3.0)
            small = ImageOps.exif_transpose(small)
            return np.asarray(small), size
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(why(error)) from error


def read_size(path: Path) -> tuple[int, int]:
    """The height and width of an image (after EXIF orientation), from its header alone.

    Raises:
        ValueError: it has none that can be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            return _true_size(image)
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(why(error)) from error


def why(error: Exception) -> str:
    """What is wrong with a file, in one line and without Python's own words."""
    if isinstance(error, UnidentifiedImageError):
        return "no image, or of a kind that is not read"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _true_size(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8) and image.format != "TIFF"  # turned on opening
    return (image.width, image.height) if turned else (image.height, image.width)


def _draft_size(image: Image.Image, canvas: int) -> tuple[int, int]:
    """At least three times the size wanted, so that a JPEG's own reduction does not show."""
    share = min(1.0, 3.0 * canvas / max(image.size))
    return round(image.width * share), round(image.height * share)


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB":
        image.load()
        return image
    if mode.startswith("I"):
        values = np.asarray(image, dtype=np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError(f"grey values {values.min()} to {values.max()} do not fit 16 bits")
        grey = ((values * 255 + 32_767) // 65_535).astype(np.uint8)
        return _keep_exif(Image.fromarray(grey).convert("RGB"), image)
    if mode == "F":
        raise ValueError("floating-point pixels have no stated range")
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return _keep_exif(Image.alpha_composite(white, layer).convert("RGB"), image)
    if mode == "LAB":
        return _keep_exif(_lab_to_rgb(image), image)
    return _keep_exif(image.convert("RGB"), image)


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
