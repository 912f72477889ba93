"""Images with a mask each: the class of every pixel, as a colour or as an index."""

from collections.abc import Sequence
from typing import Any, Literal

from ssl_seg.data.class_files import class_masks
from ssl_seg.data.levels import Range
from ssl_seg.data.mask_dataset import MaskDataset
from ssl_seg.data.mask_layouts import Pairs, find_pairs
from ssl_seg.data.mask_sources import MaskSource, find_reader, read_palettes
from ssl_seg.data.pair_names import Affixes
from ssl_seg.data.pair_patterns import Patterns, patterns_or
from ssl_seg.data.rasters import Overlap
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
    image_pattern: str = "",
    mask_pattern: str = "",
    list: str | None = None,
    case: Literal["exact", "ignore"] = "exact",
    unpaired: Literal["stop", "skip"] = "stop",
    palette: str | None = None,
    map: str | None = None,
    default_palette: str | None = None,
    ignore: Sequence[int] | None = None,
    colours: Literal["exact", "bits"] = "exact",
    stray: Literal["stop", "ignore", "unknown"] = "stop",
    overlap: Overlap = "smaller",
    splits: bool = True,
    range: Range = None,
    bands: str | None = None,
) -> MaskDataset:
    """Pairs such as `0013_sat.jpg` and `0013_mask.png`, in one folder, in two, or in a list.

    Args:
        root: the folder, one that holds the folder `split`, or a CSV file with the columns `filename` and `mask`.
        split: `train`, `val` or `test`, which finds folders of these names in any spelling: `Training`, `valid`.
        images, masks: folders of images and masks, relative to `root`; each may contain split folders.
        image_prefix, image_suffix, mask_prefix, mask_suffix: text before and after the common part of the two names. With
            two folders, text that no name has is ignored; with one, empty text for images is any file but masks.
        image_pattern, mask_pattern: instead, `{scene}/image.png` and `{scene}/mask.png`, or `{class}`; see `Patterns`.
        list: text file of the images to use, such as `ImageSets/Segmentation/{split}.txt`.
        case: whether upper and lower case distinguish names.
        unpaired: action for images without a mask and masks without an image.
        palette: `deepglobe`, `camvid`, `voc`, `cityscapes`, `cityscapes_train`, `ade20k`, `loveda`, `binary`, a number of
            classes, or JSON of names and colors. Default: `palette.json`, `labelmap.txt`, `_classes.csv`, else detected.
        map: `7:0,8:1,0-6:ignore`, or a JSON file: ids or classes to merge, rename, or ignore; see `apply_map`.
        default_palette: palette if there is neither; validation masks are read like those of training.
        ignore: unlabeled values of index masks, such as `255` or `0,255`.
        colours: `exact`, or `bits`: threshold each channel at 128, as the graders of the `deepglobe` palette do.
        stray: action for an unknown color or index: `stop`; `ignore` the pixel; or take it for the void class (`unknown`).
        overlap: where classes have a file each: the `smaller` or `last` is on top, or common pixels are unlabeled (`ignore`).
        splits: false: folders named after splits have no special meaning.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: no split that fits, files that do not pair, a JPEG as mask, or masks with no or several readings.
    """
    affixes = Affixes(image_prefix, image_suffix, mask_prefix, mask_suffix, case)
    names_of = patterns_or(affixes, image_pattern, mask_pattern)
    where = expanded(root), split if splits else "", (images, masks)
    pairs = find_pairs(*where, names_of, list, skip_unpaired=unpaired == "skip")
    reading: dict[str, Any] = {"ignore": ignore, "bits": colours == "bits", "stray": stray}
    source = _source(pairs, names_of, overlap, (palette, map, default_palette), reading)
    return MaskDataset(pairs.image_files(range, bands), source, None if names_of is not affixes else affixes)


def _source(
    pairs: Pairs,
    names_of: Affixes | Patterns,
    overlap: Overlap,
    palettes: tuple[str | None, str | None, str | None],
    reading: dict[str, Any],
) -> MaskSource:
    """One file for each image, or one for each of its classes."""
    palette, map, default = palettes
    if isinstance(names_of, Patterns) and names_of.has_classes:
        return class_masks(pairs, names_of, map, palette or default, overlap)
    known = read_palettes(pairs.base, palette, map, default)
    return find_reader(pairs.masks, [mask for _, mask in pairs.names], known, **reading)


@hookimpl
def datasets() -> dict[str, object]:
    return {"mask_pairs": mask_pairs}
