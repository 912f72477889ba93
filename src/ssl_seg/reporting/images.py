"""Images for embedding in a page: photographs as JPEG, masks as small PNGs, SVG files unchanged."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 640  # pixels; larger images are downscaled
_MAX_BYTES = 4 << 20  # of an SVG file


@dataclass(frozen=True)
class EncodedImage:
    """An image file in memory.

    Attributes:
        data: the content of the file.
        kind: `png`, `jpeg` or `svg+xml`.
        width, height: in pixels; 0 if unknown.
    """

    data: bytes
    kind: str
    width: int = 0
    height: int = 0

    @property
    def uri(self) -> str:
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"

    @property
    def suffix(self) -> str:
        return {"jpeg": ".jpg", "svg+xml": ".svg"}.get(self.kind, f".{self.kind}")


def encode_photo(
    path: Path, problems: list[str], *, side: int = MAX_SIDE, quality: int = 82
) -> EncodedImage | None:
    """Encode a photograph, at most `side` pixels wide and high; None if unreadable, which is added to `problems`."""
    image = _open(path, problems)
    if image is None:
        return None
    image = image.convert("RGB")
    image.thumbnail((side, side))
    return _encode(image, "jpeg", quality=quality, optimize=True)


def encode_mask(path: Path, problems: list[str], *, side: int = MAX_SIDE) -> EncodedImage | None:
    """Encode a mask, downscaled by nearest neighbor."""
    image = _open(path, problems)
    if image is None:
        return None
    image = image.convert("RGB")
    if max(image.size) > side:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.NEAREST)
    if image.getcolors(256):  # with so few, a palette holds each exactly
        image = image.quantize(256, dither=Image.Dither.NONE)
    return _encode(image, "png", optimize=True)


def encode_array(pixels: NDArray[np.uint8], *, side: int = MAX_SIDE) -> EncodedImage:
    """Encode (H, W, 3) pixels as a photograph."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return _encode(image, "jpeg", quality=85, subsampling=0, optimize=True)


def read_svg(path: Path, problems: list[str]) -> EncodedImage | None:
    """Read an SVG file; shown as an image, it runs no script and loads nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return None
    if b"<svg" not in data or len(data) > _MAX_BYTES:
        problems.append(f"{path} is not an SVG file of at most {_MAX_BYTES >> 20} MiB")
        return None
    return EncodedImage(data, "svg+xml")


def _open(path: Path, problems: list[str]) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return image
    except FileNotFoundError:
        return None
    except Exception as error:  # Pillow's decoders raise anything
        problems.append(f"cannot read {path}: {type(error).__name__}")
        return None


def _encode(image: Image.Image, kind: str, **options: int) -> EncodedImage:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return EncodedImage(file.getvalue(), kind, image.width, image.height)
