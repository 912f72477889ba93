"""Which image belongs to which mask, by their names."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath

from ssl_seg.data.files import find_images
from ssl_seg.errors import DataError, UsageError

_SHOWN = 5


def pair(image_root: Path, mask_root: Path, image_suffix: str, mask_suffix: str) -> list[tuple[str, str]]:
    """The images and masks of equal names, in the images' order.

    Args:
        image_root, mask_root: may be the same folder.
        image_suffix, mask_suffix: what follows the common part of the two names.

    Raises:
        DataError: one without the other, two of either for one name, or a JPEG as mask.
        UsageError: suffixes that tell nothing apart.
    """
    together = image_root == mask_root
    if together and (not mask_suffix or image_suffix == mask_suffix):
        raise UsageError("images and masks in one folder are told apart by their suffixes: give mask_suffix")
    found = list(find_images(mask_root))
    masks = _with_suffix(found, mask_suffix, optional=not together)
    rest = [name for name in found if name not in masks] if together else find_images(image_root)
    images = _with_suffix(rest, image_suffix, optional=not together)
    if not images or not masks:
        raise DataError(
            f"no pairs of *{image_suffix} and *{mask_suffix} in {mask_root}",
            where=f"{len(found)} files such as {', '.join(found[:_SHOWN])}",
            next="the option image_suffix or mask_suffix, or the folders images and masks",
        )
    for names, what in ((images, "images have the same mask"), (masks, "masks are of the same image")):
        twice = [key for key, number in Counter(names.values()).items() if number > 1]
        same = [" and ".join(name for name, key in names.items() if key == one) for one in twice[:_SHOWN]]
        _stop_at(same, len(twice), f"two {what}", image_root)
    by_key = {key: name for name, key in masks.items()}
    lonely = [name for name, key in images.items() if key not in by_key]
    _stop_at(lonely, len(lonely), "an image has no mask", image_root)
    keys = set(images.values())
    orphans = [name for name, key in masks.items() if key not in keys]
    _stop_at(orphans, len(orphans), "a mask has no image", mask_root)
    jpegs = [name for name in masks if PurePath(name).suffix.lower() in (".jpg", ".jpeg")]
    _stop_at(jpegs, len(jpegs), "a mask is a JPEG, whose colours are not exact", mask_root)
    return [(name, by_key[key]) for name, key in images.items()]


def ends(name: str, suffix: str) -> bool:
    """Whether a file's name, without its ending, ends so."""
    return os.path.splitext(name)[0].endswith(suffix)


def _with_suffix(names: Iterable[str], suffix: str, *, optional: bool) -> dict[str, str]:
    """Names that end in the suffix, with what is left of them; all, if it may be missing and is."""
    stems = {name: os.path.splitext(name)[0] for name in names}
    found = {name: stem.removesuffix(suffix) for name, stem in stems.items() if stem.endswith(suffix)}
    return stems if optional and not found else found


def _stop_at(names: list[str], count: int, what: str, root: Path) -> None:
    if names:
        raise DataError(f"{what}: {count} in all", where=f"{root}: {first(names)}")


def first(lines: list[str]) -> str:
    """The first lines, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n       ".join([*lines[:_SHOWN], *more])
