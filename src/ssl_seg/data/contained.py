"""Images that lie in containers, not in files of their own: tar shards, and tables of Arrow or Parquet."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX, Dataset
from ssl_seg.data.decode import describe_error, read_image, read_size
from ssl_seg.data.file_digests import content_digest
from ssl_seg.data.file_list import FileList
from ssl_seg.data.image_file import check_whole, open_image
from ssl_seg.data.levels import Levels
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.errors import DataError

_INSPECTED = 16


class Container(Protocol):
    """Where the bytes of images lie."""

    def encoded(self, index: int) -> bytes:
        """The bytes of an image file.

        Raises:
            ValueError: it cannot be read.
        """

    def encoded_mask(self, index: int) -> bytes:
        """The bytes of a mask, as `encoded`."""

    def location(self, index: int) -> tuple[Path, str]:
        """The file that holds an image, and where in it."""


class ContainedDataset(Dataset):
    """Encoded images in a container; masks are images of class indices.

    Args:
        root: the folder or file, for messages.
        container: gives the bytes.
        samples: name and class index of each.
        classes: names of the classes.
        masks: whether there is a mask for each.
        range: the values that become black and white in images of more than 8 bits.

    Raises:
        DataError: the classes of masks are not named.
    """

    samples: FileList

    def __init__(
        self,
        root: Path,
        container: Container,
        samples: FileList,
        classes: Sequence[str],
        *,
        masks: bool = False,
        range: tuple[float, ...] | None = None,
    ) -> None:
        self.container_root, self._container = root, container
        self.samples, self.classes, self.masks = samples, list(classes), masks
        self.levels = Levels(range)
        self.levels.check(1)
        self._digests: dict[Path, str] = {}
        self._lock, self._last = threading.Lock(), threading.local()
        self._require_classes()

    def origin(self, index: int) -> str:
        path, where = self._container.location(index)
        return f"{path}, {where}"

    def file(self, index: int) -> str:
        return str(self._container.location(index)[0])

    def identity(self, index: int) -> str:
        """Name and location of the image, and the content of the whole file that it lies in."""
        path, where = self._container.location(index)
        with self._lock:
            if path not in self._digests:
                self._digests[path] = content_digest(str(path))
        name = self.samples[index][0]
        classes = hashlib.sha256(repr(self.classes).encode()).hexdigest()[:8] if self.masks else ""
        return f"{name}\0{where} {self._digests[path]}{self.levels}{classes}"

    def size(self, index: int) -> tuple[int, int]:
        return read_size(self._container.encoded(index))

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        image, size = read_image(self._container.encoded(index), canvas, self.levels)
        self._last.seen = (index, canvas), image.shape[:2], size  # `mask` mostly follows, in this thread
        return image, size

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w), 255 where there is none.

        Raises:
            ValueError: the mask cannot be read, has a value that is no class, or another size than its image.
        """
        values = index_mask(self._container.encoded_mask(index))
        others = values[(values >= len(self.classes)) & (values != IGNORE_INDEX)]
        if others.size:
            raise ValueError(f"its mask holds {int(others[0])}, and there are {len(self.classes)} classes")
        if getattr(self._last, "seen", ((-1, -1),))[0] != (index, canvas):
            self.image(index, canvas)
        _, (height, width), size = self._last.seen
        if values.shape != size:
            raise ValueError(
                f"its mask is {values.shape[0]} x {values.shape[1]}, the image {size[0]} x {size[1]}"
            )
        return downsample_mask(values, height, width)

    def _require_classes(self) -> None:
        """See that the classes of masks are named.

        Raises:
            DataError: they are not; with the indices that some masks hold.
        """
        if not self.masks or self.classes:
            return
        rows = np.linspace(0, len(self) - 1, min(len(self), _INSPECTED)).astype(np.int64).tolist()
        try:
            held = sorted(
                {
                    int(value)
                    for row in rows
                    for value in np.unique(index_mask(self._container.encoded_mask(row)))
                }
            )
        except ValueError as error:
            raise DataError(
                f"masks in {self.container_root}: {error}", next="masks of class indices, as PNG"
            ) from error
        count = max((value for value in held if value != IGNORE_INDEX), default=0) + 1
        names = ",".join(f"class{value}" for value in np.arange(count).tolist())
        raise DataError(
            f"the classes of the masks in {self.container_root} are not named",
            where=f"{len(rows)} masks hold the indices {', '.join(map(str, held))}",
            next=f"-o data.classes={names}  # one name for each index from 0; 255 is no class",
        )


def index_mask(content: bytes) -> NDArray[np.uint8]:
    """(H, W) class indices of a mask of one band, or of a palette.

    Raises:
        ValueError: it cannot be read, or is in colours.
    """
    from PIL import Image

    try:
        with open_image(content) as file:
            check_whole(file)
            mask = Image.open(file, formats=("PNG", "TIFF", "BMP"))
            if mask.mode not in ("L", "P", "1", "I;16"):
                raise ValueError(f"the mask is in colours ({mask.mode}), and not of class indices")
            values = np.asarray(mask)
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(describe_error(error)) from error
    if values.max() > IGNORE_INDEX:
        raise ValueError(f"the mask holds {int(values.max())}, and classes go to {IGNORE_INDEX - 1}")
    return values.astype(np.uint8)
