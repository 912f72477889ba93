"""What labels say against themselves, before anything is trained on them."""

import numpy as np

from ssl_seg.base import Dataset
from ssl_seg.data.image_cache import Store
from ssl_seg.errors import DataError
from ssl_seg.utils.log import log

_SHOWN = 3


def check_labels(store: Store, dataset: Dataset, spec: str) -> None:
    """Warn of classes without an image, and of pictures that are there twice.

    Args:
        store: of the dataset's images.
        dataset: says where an image is named.
        spec: the dataset as it was given, for people.

    Raises:
        DataError: all images are of one class.
    """
    missing = _without_images(store)
    if len(store.classes) - len(missing) < 2:
        name = store.classes[int(store.targets[0])]
        raise DataError(
            f"all {len(store)} images of {spec} have the same class: {name}",
            where=dataset.origin(int(store.rows[0])),
            next="use the parent of the class folders, or a CSV file with at least two labels",
        )
    if missing:
        log.warning("%d classes of %s have no images: %s", len(missing), spec, _some(missing))
    warn_of_twins(store, dataset, spec)


def warn_of_unmeasured(store: Store, spec: str) -> None:
    """Warn of classes of training that have no image to be measured on."""
    if missing := _without_images(store):
        count = f"{len(missing)} of {len(store.classes)}"
        log.warning("%s classes have no images in %s and are not validated: %s", count, spec, _some(missing))


def warn_of_twins(store: Store, dataset: Dataset, spec: str) -> None:
    """Warn of equal pictures: under two labels one of these is wrong, under one they count twice."""
    digests, targets = store.digests.numpy(), store.targets.numpy()
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
            f"{_told(store, dataset, order[i])} is {_told(store, dataset, order[i + 1])}"
            for i in places[:_SHOWN]
        ]
        count = len(places) if found is not unlike else int(np.isin(digests, digests[order[places]]).sum())
        log.warning(
            "%d of %d images of %s are %s: %s", count, len(store), spec, what, _some(pairs, len(places))
        )


def _told(store: Store, dataset: Dataset, row: int) -> str:
    return f"{dataset.origin(int(store.rows[row]))} ({store.classes[int(store.targets[row])]})"


def _without_images(store: Store) -> list[str]:
    counts = np.bincount(store.targets.numpy(), minlength=len(store.classes))
    return [name for name, count in zip(store.classes, counts, strict=True) if not count]


def _some(names: list[str], count: int | None = None) -> str:
    more = (len(names) if count is None else count) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
