"""Images with masks, wherever these come from."""

import threading

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.files import FileDataset
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.data.mask_sources import MaskSource
from ssl_seg.data.pair_names import Affixes, had
from ssl_seg.data.palette_text import as_text


class MaskDataset(Dataset):
    """Images in files, with a mask each.

    Args:
        images: the files.
        masks: of these images, in their order.
        affixes: what the names of images and masks have beside their common part.

    Attributes:
        reader, how: how masks are read, and a line on that.
        image_files, mask_files: the images, and the masks if they are files, as lists of files.
        root, levels, path, lines: of the images; see `FileDataset`.
        palette: (C, 3) uint8 colours of the classes.
        palette_text: the classes as the option `palette` takes them, wherever files lie.
        palette_source: where the classes come from, for people.
        exclude: classes that the palette calls none, such as `unknown`.
        image_prefix, image_suffix, mask_prefix, mask_suffix: what stands before and after the common part
            of two names; empty where it was passed over.
    """

    masks = True

    def __init__(self, images: FileDataset, masks: MaskSource, affixes: Affixes | None = None) -> None:
        self.image_files, self.mask_files, self._masks = images, masks.files, masks
        self.root, self.levels, self.samples = images.root, images.levels, images.samples
        self.path, self.lines = images.path, images.lines
        self.channels, self.bands = images.channels, images.bands
        palette = masks.reader.palette
        self.classes, self.exclude = list(palette.names), list(palette.exclude)
        self.palette, self.palette_source, self.palette_text = palette.array, palette.source, as_text(palette)
        self.reader, self.how, self._last = masks.reader, masks.description, threading.local()
        image, mask = (affixes.image, affixes.mask) if affixes else (("", ""), ("", ""))
        self.image_prefix, self.image_suffix = had(image, images.samples[0][0])
        self.mask_prefix, self.mask_suffix = had(mask, masks.name(0))

    def origin(self, index: int) -> str:
        return self.image_files.origin(index)

    def file(self, index: int) -> str:
        return self.image_files.file(index)

    def size(self, index: int) -> tuple[int, int]:
        return self.image_files.size(index)

    def identity(self, index: int) -> str:
        """Changes with the image, the mask, and how the mask is read."""
        return f"{self.image_files.identity(index)}\0{self._masks.identity(index)}"

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        image, size = self.image_files.image(index, canvas)
        self._last.seen = (index, canvas), image.shape[:2], size  # `mask` mostly follows, in this thread
        return image, size

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w), 255 where there is none.

        A pixel of a reduced image has the class at its centre.

        Raises:
            ValueError: the mask cannot be read, has a value that is no class, or another size than
                its image.
        """
        name = self._masks.name(index)
        try:
            whole = self._masks.read(index)
        except ValueError as error:
            raise ValueError(f"its mask {name}: {error}") from error
        if getattr(self._last, "seen", ((-1, -1),))[0] != (index, canvas):
            self.image(index, canvas)
        _, (height, width), size = self._last.seen
        if whole.shape != size:
            raise ValueError(f"its mask {name} {_unlike(whole.shape, size)}")
        return downsample_mask(whole, height, width)


def _unlike(mask: tuple[int, ...], image: tuple[int, int]) -> str:
    """Two sizes that differ, and what may be the reason."""
    theirs, ours = (f"{height} x {width}" for height, width in (mask, image))
    text = f"is {theirs} pixels, the image {ours}"
    if mask == image[::-1]:
        return f"{text}: it is rotated by 90 degrees, probably by EXIF orientation of one of the two"
    if mask[0] * image[1] == mask[1] * image[0]:
        return f"{text}: resize it with nearest-neighbor interpolation"
    return text
