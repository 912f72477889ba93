"""A custom dataset in one file: images in an array of an .npz file.

python examples/own_dataset.py pictures.npz
ssl-seg train "examples/own_dataset.py:Arrays=pictures.npz" --backbone resnet10t --epochs 2
ssl-seg classify "examples/own_dataset.py:Arrays=pictures.npz" --backbone resnet10t --epochs 2
"""

import sys
import zlib

import numpy as np
from PIL import Image

from ssl_seg import Dataset


class Arrays(Dataset):
    """`images` (N, H, W, 3) uint8, `labels` (N,) and `classes` (names) of one file.

    Args:
        root: the file.
        split: `val` is every fifth image, `train` the others; empty: all.
    """

    def __init__(self, root: str, split: str) -> None:
        with np.load(root) as file:
            images, labels, self.classes = file["images"], file["labels"], file["classes"].tolist()
        held = np.arange(len(labels)) % 5 == 4
        kept = {"train": ~held, "val": held}.get(split, np.ones(len(labels), dtype=bool))
        self.images = images[kept]
        # name in messages, class index
        self.samples = [(f"{root}[{row}]", int(labels[row])) for row in np.flatnonzero(kept)]

    def identity(self, index: int) -> str:
        """Text that changes with the image; key of the image cache."""
        return f"{index} {zlib.crc32(self.images[index].tobytes())}"

    def image(self, index: int, canvas: int):
        """The image, reduced to fit the canvas, and its original height and width."""
        image = Image.fromarray(self.images[index])
        height, width = image.height, image.width
        image.thumbnail((canvas, canvas), Image.Resampling.BICUBIC)
        return np.asarray(image), (height, width)


if __name__ == "__main__":  # example data
    random = np.random.default_rng(0)
    labels = np.arange(100) % 2
    stripes = np.where(labels[:, None, None], np.arange(48)[:, None] % 8, np.arange(48)[None, :] % 8)
    images = stripes[..., None] * 24 + random.integers(0, 64, (100, 48, 48, 3))
    np.savez(sys.argv[1], images=images.astype(np.uint8), labels=labels, classes=["across", "down"])
