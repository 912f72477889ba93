"""Pictures as a page carries them: photographs as JPEG, masks as small PNGs, drawings as they are."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIDE = 640  # pixels; larger pictures are reduced
_BYTES = 4 << 20  # of a drawing that is taken as it is


@dataclass(frozen=True)
class Picture:
    """An image file in memory.

    Attributes:
        data: the file.
        kind: `png`, `jpeg` or `svg+xml`.
        width, height: pixels; 0 if not known.
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


def photo(path: Path, troubles: list[str], *, side: int = SIDE, quality: int = 82) -> Picture | None:
    """A photograph, at most `side` pixels wide and high; None, with a word in `troubles`, if unreadable."""
    image = _open(path, troubles)
    if image is None:
        return None
    image = image.convert("RGB")
    image.thumbnail((side, side))
    return _encoded(image, "jpeg", quality=quality, optimize=True)


def mask(path: Path, troubles: list[str], *, side: int = SIDE) -> Picture | None:
    """A mask; no colour is mixed from others when it is reduced."""
    image = _open(path, troubles)
    if image is None:
        return None
    image = image.convert("RGB")
    if max(image.size) > side:
        share = side / max(image.size)
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        image = image.resize(size, Image.Resampling.NEAREST)
    if image.getcolors(256):  # with so few, a palette holds each exactly
        image = image.quantize(256, dither=Image.Dither.NONE)
    return _encoded(image, "png", optimize=True)


def drawing(path: Path, troubles: list[str]) -> Picture | None:
    """An SVG file, to be shown as an image: as such it runs no script and loads nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        troubles.append(f"{path}: {error.strerror}")
        return None
    if b"<svg" not in data or len(data) > _BYTES:
        troubles.append(f"{path} is not an SVG file of at most {_BYTES >> 20} MiB")
        return None
    return Picture(data, "svg+xml")


def _open(path: Path, troubles: list[str]) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return image
    except FileNotFoundError:
        return None
    except Exception as error:  # Pillow's decoders raise anything
        troubles.append(f"cannot read {path}: {type(error).__name__}")
        return None


def _encoded(image: Image.Image, kind: str, **how: int) -> Picture:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return Picture(file.getvalue(), kind, image.width, image.height)
