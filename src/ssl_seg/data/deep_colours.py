"""Colours of 16 bits, of which Pillow alone reads the upper 8."""

import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

_OPAQUE = 65_535


def deep_colours(
    image: ImageFile.ImageFile, file: IO[bytes], formats: tuple[str, ...]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None] | None:
    """Colours and transparency of a PNG or TIFF with 16 bits in each band; None for any other image.

    Pillow unpacks a pixel by the rule that its `tile` names, and has one for either byte order: by the
    wrong one the lower 8 bits come out. So the file is decoded twice.

    Args:
        image: opened, not yet loaded. It stays so.
        file: of the image.
        formats: that it may have.

    Returns:
        (H, W, 3) colours or (H, W, 1) grey values, and (H, W, 1) transparency or None; 0 to 65,535.
    """
    rule = _rule(image.tile[0]) if image.tile else ""
    if rule == "LA;16B":  # four bytes: those of the grey value, those of its transparency
        pairs = _decode(file, formats, "RGBA", "RGBA")
        both = _joined(pairs[..., ::2], pairs[..., 1::2])
        return both[..., :1], both[..., 1:]
    if image.mode not in ("RGB", "RGBA") or not (";16" in rule or _has_deep_planes(image)):
        return None
    ends = "BL" if _is_big(image, rule) else "LB"
    high, low = (_decode(file, formats, image.mode, f"{image.mode};16{end}") for end in ends)
    values = _joined(high, low)
    if image.mode == "RGB":
        return values, _keyed(values, image.info.get("transparency"))
    colours, alpha = values[..., :3], values[..., 3:]
    if rule.startswith("RGBa"):  # multiplied by its transparency
        colours = np.minimum(_OPAQUE, colours * (_OPAQUE / np.maximum(alpha, 1)) + 0.5).astype(np.uint16)
    return colours, alpha


def grey_key(image: ImageFile.ImageFile, values: NDArray[Any]) -> NDArray[np.uint16] | None:
    """Transparency of a 16-bit grey PNG, of which one value may be transparent."""
    key = image.info.get("transparency")
    return _keyed(values[..., None], (key,)) if isinstance(key, int) else None


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return (high.astype(np.uint16) << 8 | low).astype(np.uint16)


def _keyed(values: NDArray[Any], key: Any) -> NDArray[np.uint16] | None:
    """Transparency where one colour stands for it; None where none does."""
    if not isinstance(key, tuple):
        return None
    hidden = (values == np.asarray(key, dtype=values.dtype)).all(axis=-1, keepdims=True)
    return np.where(hidden, 0, _OPAQUE).astype(np.uint16)


def _rule(tile: Any) -> str:
    """How the pixels of a tile are unpacked, in Pillow's words."""
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


def _has_deep_planes(image: ImageFile.ImageFile) -> bool:
    """Whether bands of 16 bits lie in planes of their own, which Pillow takes for bytes."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, ())
    return tags.get(284) == 2 and isinstance(bits, tuple) and set(bits) == {16}


def _is_big(image: ImageFile.ImageFile, rule: str) -> bool:
    """Whether the upper byte comes first."""
    if rule.endswith("N"):
        return sys.byteorder == "big"
    tags: Any = getattr(image, "tag_v2", None)
    return rule.endswith(";16B") or (";16" not in rule and tags is not None and tags.prefix == b"MM")


def _decode(file: IO[bytes], formats: tuple[str, ...], mode: str, rule: str) -> NDArray[np.uint8]:
    """The pixels of a file, each unpacked by a rule; in planes of their own by that of its band."""
    file.seek(0)
    with Image.open(file, formats=formats) as image:
        image._mode = mode
        planes, tiles = _has_deep_planes(image), []
        for tile in image.tile:
            own = _rule(tile)[0] + rule[-4:] if planes else rule
            tiles.append(tile._replace(args=(own, *tile.args[1:]) if isinstance(tile.args, tuple) else own))
        image.tile = tiles
        return np.asarray(image)
