"""Images and masks as the bytes of a shard's members, and back."""

import io
import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.base import Dataset
from ssl_seg.data.canvases import pixel_digest, reduced, reduced_mask

LOSSLESS = 0  # a quality
DECODER = "pillow"

Suffix = Literal["jpg", "png"]


@dataclass(frozen=True)
class EncodedSample:
    """An image as it is packed.

    Attributes:
        name, target: as in `Dataset.samples`.
        suffix, image: format and bytes of the image.
        mask: bytes of a PNG with the class of every pixel; empty without masks.
        size: height and width.
        digest: hash of the pixels before encoding, as in an image cache.
    """

    name: str
    target: int
    suffix: Suffix
    image: bytes
    mask: bytes
    size: tuple[int, int]
    digest: int


def encode(dataset: Dataset, index: int, limit: int, quality: int) -> EncodedSample:
    """Reduce an image as for an image cache, and encode it.

    A JPEG file that has exactly these pixels is taken as it is.

    Args:
        limit: see `canvases.reduced`.
        quality: of JPEG, 1 to 100; 0: lossless, as PNG.

    Raises:
        ValueError: the image or its mask cannot be read; the text says why.
    """
    image, side = reduced(dataset, index, limit)
    name, target = dataset.samples[index]
    mask = _png(reduced_mask(dataset, index, side, image)) if dataset.masks else b""
    suffix: Suffix = "jpg"
    data = _original_jpeg(dataset.file(index), image)
    if not data and quality == LOSSLESS:
        suffix, data = "png", _png(image)
    elif not data:
        data = _encoded(image, "JPEG", quality=quality)
    return EncodedSample(
        name, target, suffix, data, mask, (image.shape[0], image.shape[1]), pixel_digest(image)
    )


def decode(data: bytes, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """The (h, w, 3) image or (h, w) mask of a member.

    Raises:
        ValueError: the bytes cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            return np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(str(error)) from error


def _original_jpeg(path: str, image: NDArray[np.uint8]) -> bytes:
    """The content of a JPEG file, if it decodes to exactly this image; otherwise nothing."""
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        data = file.read(3)
        if data != b"\xff\xd8\xff":
            return b""
        data += file.read()
    try:
        same = np.array_equal(decode(data, "RGB"), image)
    except ValueError:
        return b""
    return data if same else b""


def _png(picture: NDArray[np.uint8]) -> bytes:
    return _encoded(picture, "PNG", compress_level=6)


def _encoded(picture: NDArray[np.uint8], format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format_, **options)
    return buffer.getvalue()
