"""Images with a mask each: the class of every pixel, as a colour or as an index."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE
from ssl_seg.data.file_pairs import ends, first, pair
from ssl_seg.data.files import FileDataset
from ssl_seg.data.mask_files import MaskCount, MaskReader, recognise, reduce_mask
from ssl_seg.data.palettes import read_palette
from ssl_seg.data.splits import split_folder
from ssl_seg.errors import DataError, UsageError
from ssl_seg.hooks import hookimpl

_SMALL = 32  # canvas on which an image is read when only its true size is wanted


def mask_pairs(
    root: str,
    split: str,
    *,
    images: str | None = None,
    masks: str | None = None,
    image_suffix: str = "_sat",
    mask_suffix: str = "_mask",
    palette: str | None = None,
    colours: Literal["exact", "bits"] = "exact",
    stray: Literal["stop", "ignore", "unknown"] = "stop",
    splits: bool = True,
    range: tuple[float, float] | None = None,
) -> "MaskPairs":
    """Pairs like `0013_sat.jpg` and `0013_mask.png` in one folder, or in two folders of their own.

    Args:
        root: the folder, or one that holds the folder `split`.
        split: `train`, `val` or `test`, which finds folders of these names in any spelling: `Training`, `valid`.
        images, masks: two folders, relative to that; also if each holds the folder `split` itself.
        image_suffix, mask_suffix: what follows the common part of the two names. In two folders a
            suffix that no name there has is passed over; in one, an empty `image_suffix` means all
            that are no masks.
        palette: `deepglobe`, `camvid`, `voc`, a number of classes, or a JSON file of names and
            colours; `palette.json` beside the images or one folder above is found. Else colours are
            recognised, and indices counted.
        colours: `exact`, or `bits`: each channel counts as 0 below 128 and as 255 from there on. The
            graders of the `deepglobe` palette read masks so. What one trains on should be exact:
            a colour in between is a damaged mask.
        stray: what is done about a colour or an index of no class: `stop`; `ignore` the pixel, which
            is neither trained on nor measured; or take it for the class that the palette calls none,
            as graders do, for whom any class predicted there is wrong.
        splits: false takes folders of such names for any others.
        range: the values that become black and white in images of more than 8 bits.

    Raises:
        DataError: no split that fits, a mask without an image, an image without a mask, two of either
            for one name, a JPEG as mask, or no palette for the colours. What is wrong inside a file, `mask` says.
    """
    split = split if splits else ""
    base = _split_of(Path(root).expanduser(), split)
    if (images is None) != (masks is None):
        raise UsageError("images and masks are two folders: give both or neither")
    image_root = base if images is None else _split_of(base / images, split)
    mask_root = base if masks is None else _split_of(base / masks, split)
    pairs = pair(image_root, mask_root, image_suffix, mask_suffix)
    near = (base / "palette.json", base.parent / "palette.json")
    palette = palette or next((str(path) for path in near if path.is_file()), None)
    found = recognise([mask_root / mask for _, mask in pairs], read_palette(palette) if palette else None)
    value = {"stop": None, "ignore": IGNORE, "unknown": found.palette.none}[stray]
    if stray == "unknown" and value is None:
        raise UsageError(f"stray=unknown: the palette ({found.palette.source}) has no class for none")
    reader = MaskReader(found.palette, found.coding, bits=colours == "bits", stray=value)
    dataset = MaskPairs(image_root, mask_root, pairs, reader, range=range)
    dataset.image_suffix = image_suffix if ends(pairs[0][0], image_suffix) else ""
    dataset.mask_suffix = mask_suffix if ends(pairs[0][1], mask_suffix) else ""
    return dataset


class MaskPairs(FileDataset):
    """Images below one folder, masks below the same or another.

    Args:
        images, masks: the folders.
        pairs: (image, mask), relative to them.
        reader: of the masks.
        range: see `FileDataset`.

    Attributes:
        reader: as given.
        mask_files: the masks as a list of files.
        palette: (C, 3) uint8 colours of the classes.
        palette_source: where the classes come from, for people.
        exclude: classes that the palette calls none, such as `unknown`.
        image_suffix, mask_suffix: what follows the common part of two names.
    """

    masks = True
    image_suffix = mask_suffix = ""

    def __init__(
        self,
        images: Path,
        masks: Path,
        pairs: Iterable[tuple[str, str]],
        reader: MaskReader,
        *,
        range: tuple[float, float] | None = None,
    ) -> None:
        pairs = list(pairs)
        super().__init__(images, ((image, -1) for image, _ in pairs), reader.palette.names, range=range)
        self.mask_files = FileDataset(masks, ((mask, -1) for _, mask in pairs))
        self.palette, self.palette_source = reader.palette.array, reader.palette.source
        self.exclude = list(reader.palette.exclude)
        self.reader, self._last = reader, threading.local()
        coding = (
            reader.coding,
            reader.bits,
            reader.stray,
            reader.palette.colours,
            reader.palette.void,
        )
        self._how = repr(coding)

    def identity(self, index: int) -> str:
        """Changes with the image, the mask, and how the mask is read."""
        return f"{super().identity(index)}\0{self.mask_files.identity(index)}\0{self._how}"

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        image, size = super().image(index, canvas)
        self._last.seen = (index, canvas), image.shape[:2], size  # `mask` mostly follows, in this thread
        return image, size

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w), 255 where there is none.

        A pixel of a reduced image has the class at its centre.

        Raises:
            ValueError: the mask cannot be read, has a value that is no class, or another size than
                its image.
        """
        whole, (height, width), _ = self._whole(index, canvas)
        return reduce_mask(whole, height, width)

    def _whole(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int], int]:
        """The mask as it is, the size of the image on the canvas, and the number of stray pixels."""
        name, _ = self.mask_files.samples[index]
        try:
            whole, stray = self.reader.read(self.mask_files.root / name)
        except ValueError as error:
            raise ValueError(f"its mask {name}: {error}") from error
        if getattr(self._last, "seen", ((-1, -1),))[0] != (index, canvas):
            self.image(index, canvas)
        _, reduced, size = self._last.seen
        if whole.shape != size:
            theirs, ours = (f"{height} x {width}" for height, width in (whole.shape, size))
            raise ValueError(f"its mask {name} is {theirs} pixels, the image {ours}")
        return whole, reduced, stray

    def check_masks(
        self,
        tick: Callable[[int, int], None] = lambda done, total: None,
        *,
        exclude: Sequence[str] = (),
        threads: int | None = None,
    ) -> MaskCount:
        """Read every mask and count its classes.

        Args:
            tick: called with (done, total).
            exclude: classes that do not make a mask one with pixels to train on.
            threads: that read; all cores by default.

        Raises:
            DataError: masks that cannot be used; the first ones with what is wrong.
        """
        count, kept = len(self.classes), [name not in exclude for name in self.classes]
        total, stray, empty, bad = np.zeros(256, dtype=np.int64), 0, [], []

        def look(index: int) -> tuple[NDArray[np.int64], int] | str:
            try:
                whole, _, lost = self._whole(index, _SMALL)
            except ValueError as error:
                return f"{self.samples[index][0]}: {error}"
            return np.bincount(whole.ravel(), minlength=256), lost

        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            for index, found in enumerate(pool.map(look, range(len(self)))):
                if isinstance(found, str):
                    bad.append(found)
                else:
                    total += found[0]
                    stray += found[1]
                    if not found[0][:count][kept].any():
                        empty.append(self.mask_files.samples[index][0])
                tick(index + 1, len(self))
        if bad:
            advice = "mend them; a colour or an index of no class: stray=ignore leaves its pixels out"
            raise DataError(f"{len(bad)} of {len(self)} masks cannot be used", where=first(bad), next=advice)
        return MaskCount(total[:count], int(total[IGNORE]), stray, empty)


def _split_of(folder: Path, split: str) -> Path:
    return split_folder(folder, split)


@hookimpl
def datasets() -> dict[str, object]:
    return {"mask_pairs": mask_pairs}
