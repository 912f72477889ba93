"""Which image belongs to which mask, by their names."""

from collections import Counter
from pathlib import Path, PurePath

from ssl_seg.data.files import find_images
from ssl_seg.data.pair_guess import guess
from ssl_seg.data.pair_names import Affixes
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.text import first_lines

_SHOWN = 5


def pair_files(
    image_root: Path, mask_root: Path, affixes: Affixes, *, skip_unpaired: bool = False
) -> list[tuple[str, str]]:
    """The images and masks of equal names, in the images' order.

    Args:
        image_root, mask_root: may be the same folder.
        affixes: what else the names have.
        skip_unpaired: leave out images without a mask, and masks without an image.

    Raises:
        DataError: one without the other, two of either for one name, or a JPEG as mask.
        UsageError: affixes that tell nothing apart.
    """
    same_folder = image_root == mask_root
    if same_folder and (affixes.image == affixes.mask or affixes.mask == ("", "")):
        raise UsageError(
            "images and masks in one folder require mask_suffix or mask_prefix",
            next="-o data.mask_suffix=_mask, or -o data.mask_prefix=mask_",
        )
    found = list(find_images(mask_root))
    names, others = (found, None) if same_folder else (list(find_images(image_root)), found)
    images, masks = affixes.split(names, others)
    for kind, what in ((images, "images share one mask"), (masks, "masks share one image")):
        duplicated = {key for key, number in Counter(kind.values()).items() if number > 1}
        same = [" and ".join(name for name, key in kind.items() if key == one) for one in duplicated]
        _raise_unpaired(
            same, f"two {what}", image_root, "remove one of them, or use a suffix that only one has"
        )
    by_key = {key: name for name, key in masks.items()}
    paired = [(name, by_key[key]) for name, key in images.items() if key in by_key]
    if not paired:
        raise DataError(
            f"no image-mask pairs matching {_pattern(*affixes.image)} and {_pattern(*affixes.mask)} in {mask_root}",
            where=f"{len(found)} files such as {', '.join(found[:_SHOWN])}",
            next=guess(names, others, affixes)
            or "set the options image_suffix and mask_suffix, or images and masks",
        )
    if not skip_unpaired:
        unpaired_images = [name for name, key in images.items() if key not in by_key]
        keys = set(images.values())
        unpaired_masks = [name for name, key in masks.items() if key not in keys]
        advice = guess(names, others, affixes) if unpaired_images or unpaired_masks else ""
        advice = advice or "-o data.unpaired=skip"
        _raise_unpaired(unpaired_images, "an image has no mask", image_root, advice)
        _raise_unpaired(unpaired_masks, "a mask has no image", mask_root, advice)
    jpegs = [mask for _, mask in paired if PurePath(mask).suffix.lower() in (".jpg", ".jpeg")]
    what = "a mask is a JPEG, whose colors are inexact"
    _raise_unpaired(jpegs, what, mask_root, "use the PNG or TIFF that the JPEG was made from")
    return paired


def _pattern(before: str, after: str) -> str:
    return f"{before}*{after}"


def _raise_unpaired(names: list[str], what: str, root: Path, next: str) -> None:
    if names:
        where, faults = f"{root}: {first_lines(names)}", [(str(root / name), what) for name in names]
        raise DataError(f"{what}: {len(names)} in all", where=where, next=next, faults=faults)
