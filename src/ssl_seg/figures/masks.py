"""Masks as pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.utils.files import atomic_file


def colorize_mask(mask: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class indices in their colours.

    Args:
        mask: (..., H, W); an index without a colour becomes `nothing(colours)`.
        colours: (C, 3) uint8.

    Returns:
        (..., H, W, 3) uint8.
    """
    table = np.full((256, 3), ignore_color(colours), dtype=np.uint8)
    table[: len(colours)] = colours
    return table[mask]


def ignore_color(colours: NDArray[np.uint8]) -> int:
    """The grey of pixels without a class: black, or where a class is black, the next that no class has."""
    taken = {tuple(colour) for colour in colours.tolist()}
    greys: list[int] = [0, 128, *range(255, 0, -1)]
    return next(grey for grey in greys if (grey, grey, grey) not in taken)


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], colours: NDArray[np.uint8], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """An image under its mask.

    Args:
        image: (H, W, 3). mask: (H, W) class indices.
        colours: (C, 3) of the classes.
        opacity: of the mask.

    Returns:
        (H, W, 3) uint8.
    """
    mixed = (1 - opacity) * image + opacity * colorize_mask(mask, colours)
    return np.rint(mixed).astype(np.uint8)


def save_mask(path: Path, mask: NDArray[np.uint8], colours: NDArray[np.uint8] | None) -> None:
    """Write an (H, W) mask as a PNG: in colours, or without them the indices.

    Raises:
        ResourceError: it cannot be written.
    """
    save_image(path, mask if colours is None else colorize_mask(mask, colours))


def save_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) or (H, W) pixels as a PNG; missing folders are made.

    Raises:
        ResourceError: it cannot be written.
    """
    with atomic_file(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")
