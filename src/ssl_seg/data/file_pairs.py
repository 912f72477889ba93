"""Which image belongs to which mask, by their names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from ssl_seg.data.files import find_images
from ssl_seg.data.pair_guess import guess
from ssl_seg.data.pair_lists import listed
from ssl_seg.data.pair_names import Affixes
from ssl_seg.data.pair_patterns import Patterns
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.log import log
from ssl_seg.utils.text import first_lines

_SHOWN = 5
_OPTIONS = "set the options image_suffix and mask_suffix, or images and masks"


def pair_files(
    image_root: Path,
    mask_root: Path,
    names_of: Affixes | Patterns,
    *,
    skip_unpaired: bool = False,
    only: tuple[Path, Sequence[str]] | None = None,
    advice: str = "",
) -> list[tuple[str, str]]:
    """The images and masks of equal names, in the images' order.

    Args:
        image_root, mask_root: may be the same folder.
        names_of: what else the names have, or what paths they have.
        skip_unpaired: leave out images without a mask, and masks without an image, with a warning.
        only: a list of images, and where it is from; all others are left out.
        advice: a further option that errors propose.

    Raises:
        DataError: one without the other, two of either for one name, or a JPEG as mask.
        UsageError: affixes that tell nothing apart.
    """
    same_folder = image_root == mask_root
    if same_folder and isinstance(names_of, Affixes):
        _check_affixes(names_of)
    found = list(find_images(mask_root))
    names, others = (found, None) if same_folder else (list(find_images(image_root)), found)
    images, masks = names_of.split(names, others)
    if only is not None and images:
        images = listed(images, only[1], only[0])
        used = set(images.values())
        masks = {name: key for name, key in masks.items() if key in used}
    several = isinstance(names_of, Patterns) and names_of.has_classes  # masks of an image
    _refuse_duplicates(images, {} if several else masks, image_root)
    by_key = {key: name for name, key in masks.items()}
    paired = [(name, by_key[key]) for name, key in images.items() if key in by_key]
    if not paired:
        raise DataError(
            f"no image-mask pairs matching {' and '.join(names_of.shown)} in {mask_root}",
            where=f"{len(found)} files such as {', '.join(found[:_SHOWN])}",
            next=f"{advice} {guess(names, others, names_of) or _other_kind(mask_root, found) or _OPTIONS}".strip(),
        )
    keys = set(images.values())
    lone_images = [name for name, key in images.items() if key not in by_key]
    lone_masks = [name for name, key in masks.items() if key not in keys]
    if lone_images or lone_masks:
        if skip_unpaired:
            counts = len(lone_images), len(lone_masks)
            log.warning("%d images without a mask and %d masks without an image are left out", *counts)
        else:
            next_step = f"{advice} {guess(names, others, names_of)}".strip() or "-o data.unpaired=skip"
            _raise_unpaired(lone_images, "an image has no mask", image_root, next_step)
            _raise_unpaired(lone_masks, "a mask has no image", mask_root, next_step)
    jpegs = [mask for _, mask in paired if PurePath(mask).suffix.lower() in (".jpg", ".jpeg")]
    what = "a mask is a JPEG, whose colors are inexact"
    _raise_unpaired(jpegs, what, mask_root, "use the PNG or TIFF that the JPEG was made from")
    return paired


def _other_kind(root: Path, names: Sequence[str]) -> str:
    """The format that reads JSON files beside images, if they lie there; empty if not."""
    if any((root / name).with_suffix(".json").is_file() for name in names[:_SHOWN]):
        return f"labelme_masks:{root}"
    return next((f"coco_masks:{file}" for file in sorted(root.glob("**/*.json"))[:1]), "")


def _refuse_duplicates(images: Mapping[str, str], masks: Mapping[str, str], root: Path) -> None:
    """See that no two images, and no two masks, have one key."""
    for kind, what in ((images, "images share one mask"), (masks, "masks share one image")):
        duplicated = {key for key, number in Counter(kind.values()).items() if number > 1}
        same = [" and ".join(name for name, key in kind.items() if key == one) for one in duplicated]
        _raise_unpaired(same, f"two {what}", root, "remove one of them, or use a suffix that only one has")


def _check_affixes(affixes: Affixes) -> None:
    if affixes.image == affixes.mask or affixes.mask == ("", ""):
        raise UsageError(
            "images and masks in one folder require mask_suffix or mask_prefix",
            next="-o data.mask_suffix=_mask, or -o data.mask_prefix=mask_",
        )


def _raise_unpaired(names: list[str], what: str, root: Path, next: str) -> None:
    if names:
        where, faults = f"{root}: {first_lines(names)}", [(str(root / name), what) for name in names]
        raise DataError(f"{what}: {len(names)} in all", where=where, next=next, faults=faults)
