"""Images with a mask each: the class of every pixel, as a colour or as an index."""

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX, Dataset
from ssl_seg.data.file_pairs import pair_files
from ssl_seg.data.files import FileDataset
from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.data.label_maps import apply_map
from ssl_seg.data.mask_coding import detect_encoding
from ssl_seg.data.mask_files import MaskReader, downsample_mask
from ssl_seg.data.pair_names import Affixes, had
from ssl_seg.data.palette_text import as_text, read_palette
from ssl_seg.data.palettes import Palette
from ssl_seg.data.side_files import NAMES
from ssl_seg.data.splits import split_folder
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded


def mask_pairs(
    root: str,
    split: str,
    *,
    images: str | None = None,
    masks: str | None = None,
    image_prefix: str = "",
    image_suffix: str = "_sat",
    mask_prefix: str = "",
    mask_suffix: str = "_mask",
    case: Literal["exact", "ignore"] = "exact",
    unpaired: Literal["stop", "skip"] = "stop",
    palette: str | None = None,
    map: str | None = None,
    default_palette: str | None = None,
    ignore: list[int] | None = None,
    colours: Literal["exact", "bits"] = "exact",
    stray: Literal["stop", "ignore", "unknown"] = "stop",
    splits: bool = True,
    range: tuple[float, float] | None = None,
) -> "MaskPairDataset":
    """Pairs such as `0013_sat.jpg` and `0013_mask.png`, in one folder or in two.

    Args:
        root: the folder, or one that holds the folder `split`.
        split: `train`, `val` or `test`, which finds folders of these names in any spelling: `Training`, `valid`.
        images, masks: folders of images and masks, relative to `root`; each may contain split folders.
        image_prefix, image_suffix, mask_prefix, mask_suffix: text before and after the common part of the
            two names. With two folders, text that no name has is ignored; with one, empty text for images
            selects all files that are not masks.
        case: whether upper and lower case distinguish names.
        unpaired: action for images without a mask and masks without an image.
        palette: `deepglobe`, `camvid`, `voc`, `cityscapes`, `cityscapes_train`, `ade20k`, `loveda`, `binary`, a number of
            classes, or a JSON file (or text) of names and colors. Default: `palette.json`, `labelmap.txt` or `_classes.csv`
            next to the images or one folder above, else detected.
        map: `7:0,8:1,0-6:ignore`, or a JSON file: ids or classes to merge, rename, or ignore; see `apply_map`.
        default_palette: palette if there is neither; validation masks are read like those of training.
        ignore: unlabeled values of index masks, such as `255` or `0,255`.
        colours: `exact`, or `bits`: threshold each channel at 128, as the graders of the `deepglobe` palette do.
            In training, intermediate colors are usually damaged masks.
        stray: action for an unknown color or index: `stop`; `ignore` the pixel in training and scores; or
            assign it to the void class of the palette (`unknown`), as graders do.
        splits: false: folders named after splits have no special meaning.
        range: values that become black and white in images of more than 8 bits.

    Raises:
        DataError: no split that fits, a mask without an image, an image without a mask, two of either for one name, a
            JPEG as mask, or masks that can be read in more than one way, or in none. What is wrong inside
            a file, `mask` says.
    """
    base = split_folder(expanded(root), split := split if splits else "")
    if (images is None) != (masks is None):
        raise UsageError("images and masks must be given together")
    image_root, mask_root = (
        split_folder(base / below, split) if below else base for below in (images, masks)
    )
    affixes = Affixes(image_prefix, image_suffix, mask_prefix, mask_suffix, case)
    pairs = pair_files(image_root, mask_root, affixes, skip_unpaired=unpaired == "skip")
    known = _palette(base, palette, map, default_palette)
    paths = [mask_root / mask for _, mask in pairs]
    found, description = detect_encoding(paths, known, void=ignore or (), bits=colours == "bits")
    return MaskPairDataset(
        image_root, mask_root, pairs, _with_unknown_class(found, stray), affixes, description, range=range
    )


def _palette(base: Path, palette: str | None, map: str | None, default: str | None) -> Palette | None:
    if map in NAMED_PALETTES and palette is None:
        palette, map = map, None
    near = (folder / name for folder in (base, base.parent) for name in NAMES)
    text = palette or next((str(path) for path in near if path.is_file()), None)
    if map is not None:
        return apply_map(map, read_palette(text) if text else None)
    text = text or default
    return read_palette(text) if text else None


def _with_unknown_class(reader: MaskReader, unknown: Literal["stop", "ignore", "unknown"]) -> MaskReader:
    value = {"stop": None, "ignore": IGNORE_INDEX, "unknown": reader.palette.none}[unknown]
    if unknown == "unknown" and value is None:
        raise UsageError(f"stray=unknown: the palette ({reader.palette.source}) has no void class")
    return replace(reader, unknown_class=value)


class MaskPairDataset(Dataset):
    """Images below one folder, masks below the same or another.

    Args:
        images, masks: the folders.
        pairs: (image, mask), relative to them.
        reader: of the masks.
        affixes: of the names.
        description: a line on how masks are read, and why.
        range: see `FileDataset`.

    Attributes:
        reader, how: as given.
        image_files, mask_files: the images and the masks as lists of files.
        root, levels: of the images; see `FileDataset`.
        palette: (C, 3) uint8 colours of the classes.
        palette_text: the classes as the option `palette` takes them, wherever files lie.
        palette_source: where the classes come from, for people.
        exclude: classes that the palette calls none, such as `unknown`.
        image_prefix, image_suffix, mask_prefix, mask_suffix: what stands before and after the common part
            of two names; empty where it was passed over.
    """

    masks = True

    def __init__(
        self,
        images: Path,
        masks: Path,
        pairs: Iterable[tuple[str, str]],
        reader: MaskReader,
        affixes: Affixes,
        description: str = "",
        *,
        range: tuple[float, float] | None = None,
    ) -> None:
        pairs, palette = list(pairs), reader.palette
        self.image_files = FileDataset(images, ((image, -1) for image, _ in pairs), range=range)
        self.root, self.levels = images, self.image_files.levels
        self.samples, self.classes = self.image_files.samples, list(palette.names)
        self.mask_files = FileDataset(masks, ((mask, -1) for _, mask in pairs))
        self.palette, self.palette_source, self.palette_text = palette.array, palette.source, as_text(palette)
        self.exclude = list(palette.exclude)
        self.reader, self.how, self._last = reader, description, threading.local()
        self.image_prefix, self.image_suffix = had(affixes.image, pairs[0][0])
        self.mask_prefix, self.mask_suffix = had(affixes.mask, pairs[0][1])
        coding: tuple[object, ...] = (
            reader.encoding,
            reader.threshold_channels,
            reader.unknown_class,
            palette.colours,
            palette.void,
        )
        if reader.ids or palette.void_values:
            coding = (*coding, reader.ids, palette.void_values)
        if palette.aliases:
            coding = (*coding, palette.aliases)
        self._cache_key = repr(coding)

    def file(self, index: int) -> str:
        return self.image_files.file(index)

    def size(self, index: int) -> tuple[int, int]:
        return self.image_files.size(index)

    def identity(self, index: int) -> str:
        """Changes with the image, the mask, and how the mask is read."""
        return f"{self.image_files.identity(index)}\0{self.mask_files.identity(index)}\0{self._cache_key}"

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
        name, _ = self.mask_files.samples[index]
        try:
            whole = self.reader.read(self.mask_files.root / name)
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


@hookimpl
def datasets() -> dict[str, object]:
    return {"mask_pairs": mask_pairs}
