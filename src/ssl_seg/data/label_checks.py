"""What labels say against themselves, before anything is trained on them."""

import re
from collections import Counter

import numpy as np

from ssl_seg.base import Dataset
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.errors import DataError
from ssl_seg.utils.log import log

_SHOWN = 3


def check_labels(image_cache: ImageCache, dataset: Dataset, spec: str) -> None:
    """Warn of classes without an image, and of pictures that are there twice.

    Args:
        image_cache: of the dataset's images.
        dataset: says where an image is named.
        spec: the dataset as it was given, for people.

    Raises:
        DataError: all images are of one class, or labels list several classes.
    """
    _refuse_several(image_cache, dataset)
    missing = _without_images(image_cache)
    if len(image_cache.classes) - len(missing) < 2:
        name = image_cache.classes[int(image_cache.targets[0])]
        raise DataError(
            f"all {len(image_cache)} images of {spec} have the same class: {name}",
            where=dataset.origin(int(image_cache.sample_indices[0])),
            next="use the parent of the class folders, or a CSV file with at least two labels",
        )
    if missing:
        log.warning("%d classes of %s have no images: %s", len(missing), spec, _some(missing))
    warn_of_twins(image_cache, dataset, spec)


def _refuse_several(image_cache: ImageCache, dataset: Dataset) -> None:
    """Refuse labels such as `cat;dog` beside `cat` and `dog`: an image has one label."""
    parts = {name: {part.strip() for part in re.split("[;|,]", name)} for name in image_cache.classes}
    users = Counter(part for several in parts.values() for part in several)
    listing = [
        name for name, several in parts.items() if len(several) > 1 and all(users[p] > 1 for p in several)
    ]
    if not listing:
        return
    target = list(image_cache.classes).index(listing[0])
    rows = (image_cache.targets == target).nonzero()[:, 0]
    raise DataError(
        f"the label {listing[0]!r} lists several classes; an image has one label here",
        where=dataset.origin(int(image_cache.sample_indices[rows[0]])) if len(rows) else None,
        next="give each image one label, or rename the class if it is one",
    )


def require_labels(image_cache: ImageCache, spec: str, method: str) -> None:
    """Refuse images without a single label for a method that trains on labels.

    Raises:
        DataError: no image has one.
    """
    if not (image_cache.targets >= 0).any():
        raise DataError(
            f"{method} trains on labels, and no image of {spec} has one",
            next="a folder per class, or a CSV file with the columns filename and label",
        )


def warn_of_unmeasured(image_cache: ImageCache, spec: str) -> None:
    """Warn of classes of training that have no image to be measured on."""
    if missing := _without_images(image_cache):
        count = f"{len(missing)} of {len(image_cache.classes)}"
        log.warning("%s classes have no images in %s and are not validated: %s", count, spec, _some(missing))


def warn_of_twins(image_cache: ImageCache, dataset: Dataset, spec: str) -> None:
    """Warn of equal pictures: under two labels one of these is wrong, under one they count twice."""
    digests, targets = image_cache.digests.numpy(), image_cache.targets.numpy()
    order = np.lexsort((targets, digests))
    equal = digests[order][1:] == digests[order][:-1]
    unlike = equal & (targets[order][1:] != targets[order][:-1])
    for found, what in (
        (unlike, "also present under another label"),
        (equal & ~unlike, "duplicates within their class"),
    ):
        places = np.flatnonzero(found)
        if not len(places):
            continue
        pairs = [
            f"{_told(image_cache, dataset, order[i])} is {_told(image_cache, dataset, order[i + 1])}"
            for i in places[:_SHOWN]
        ]
        count = len(places) if found is not unlike else int(np.isin(digests, digests[order[places]]).sum())
        log.warning(
            "%d of %d images of %s are %s: %s", count, len(image_cache), spec, what, _some(pairs, len(places))
        )


def _told(image_cache: ImageCache, dataset: Dataset, row: int) -> str:
    return f"{dataset.origin(int(image_cache.sample_indices[row]))} ({image_cache.classes[int(image_cache.targets[row])]})"


def _without_images(image_cache: ImageCache) -> list[str]:
    counts = np.bincount(image_cache.targets.numpy(), minlength=len(image_cache.classes))
    return [name for name, count in zip(image_cache.classes, counts, strict=True) if not count]


def _some(names: list[str], count: int | None = None) -> str:
    more = (len(names) if count is None else count) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
