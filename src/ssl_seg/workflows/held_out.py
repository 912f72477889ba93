"""`--val 0.2`: validation images that are cut from the training images, and recorded."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssl_seg.data.holdout import groups_of, hold_out, share_in
from ssl_seg.data.subset import Subset
from ssl_seg.utils.options import check_options
from ssl_seg.workflows.labeled_subset import labeled_subset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.workflows.config import FinetuneConfig
    from ssl_seg.workflows.session import Session

    Images = tuple[Dataset, ImageCache]

LIST = "val.csv"


def training_and_validation(
    session: "Session",
    config: "FinetuneConfig",
    dataset: "Dataset",
    images: "ImageCache",
    count_pixels: "Callable[[ImageCache], NDArray[np.int64]]",
) -> "tuple[Images, Images | None]":
    """The training images that the settings ask for, and the validation images that are cut from them, if any.

    The cut depends on the images, their classes and `-o val.seed` alone: not on `--seed`, nor on label subsets, which
    are taken of what is left. The run's folder lists the validation images.

    Args:
        count_pixels: (N, C) pixels of each class in each image of a cache; see `hold_out`.
    """
    (dataset, images), val = _cut(session, config, dataset, images, count_pixels)
    return labeled_subset(session, config, dataset, images, count_pixels), val


def _cut(
    session: "Session",
    config: "FinetuneConfig",
    dataset: "Dataset",
    images: "ImageCache",
    count_pixels: "Callable[[ImageCache], NDArray[np.int64]]",
) -> "tuple[Images, Images | None]":
    if (share := share_in(config.val)) is None:
        return (dataset, images), None
    options = check_options(_options, f"--val {config.val}", config.o.get("val", {}))
    seed, by = _options(**options)
    rows = images.sample_indices.tolist()
    groups = None if by is None else groups_of(dataset, rows, by)
    is_held = hold_out(count_pixels(images), images.digests, share, groups=groups, seed=seed)
    print_line, common = session.progress.print_line, f"of {len(rows)} images of {config.train}"
    print_line(
        f"validation: {is_held.sum()} {common}, {'stratified' if by is None else f'in whole groups (val.group={by})'}"
    )
    train, val = (
        Subset(dataset, [row for row, held in zip(rows, is_held, strict=True) if held == part])
        for part in (False, True)
    )
    if session.device.is_main and not session.run_dir.resume:
        _write_list(session, val)
    caches = [session.image_cache(part, config) for part in (train, val)]
    caches[1].notes = {"cut": f"{share} of train, seed {seed}, group {by}"}
    return (train, caches[0]), (val, caches[1])


def _options(*, seed: int = 0, group: str | None = None) -> tuple[int, str | None]:
    return seed, group


def _write_list(session: "Session", val: "Subset") -> None:
    """Write the validation images with their labels or masks, as `evaluate` and `--val` read them."""
    from ssl_seg.workflows.validator import write_csv

    masks = getattr(val, "mask_files", None)
    header = ["filename", *(["label"] if val.classes and not val.masks else []), *(["mask"] if masks else [])]
    rows: list[list[Any]] = []
    for index, (_, target) in enumerate(val.samples):
        label = [val.classes[target]] if "label" in header else []
        mask = [_whole(masks.file(val.indices[index]))] if masks else []
        rows.append([_whole(val.file(index)), *label, *mask])
    write_csv(session.run_dir.folder / LIST, header, rows)


def _whole(name: str) -> str:
    """The absolute path of a file; what is no file keeps its name."""
    return os.path.abspath(name) if os.path.exists(name) else name
