"""`--extra`: more training images, whose labels count less than those of a person."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ssl_seg.data.joined import Joined
from ssl_seg.data.subset import Subset
from ssl_seg.errors import DataError, UsageError, did_you_mean, pluralize
from ssl_seg.workflows.overlap import is_in

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.workflows.config import FinetuneConfig
    from ssl_seg.workflows.session import Session
    from ssl_seg.workflows.task import C, FinetuneData, M, OpenDataset, Task

_SHOWN = 8


def check_extra_weight(config: "FinetuneConfig") -> None:
    """Refuse a weight without images, or with a loss that is no mean over images.

    Raises:
        UsageError: it is one of these.
    """
    if config.extra_weight is not None and config.extra is None:
        raise UsageError(
            "--extra-weight is of the images of --extra", next="--extra FOLDER --extra-weight 0.5"
        )
    loss, mixup = getattr(config, "loss", "ce"), getattr(config, "mixup", 0.0)
    if config.extra_weight not in (None, 1.0) and (loss != "ce" or mixup):
        flag = f"--loss {loss}" if loss != "ce" else f"--mixup {mixup:g}"
        raise UsageError(
            f"{flag} compares or mixes images, which cannot have weights of their own",
            next=f"--extra-weight 1, or without {flag}",
        )


def load_with_extra_images(
    task: "Task[C, M]", session: "Session", config: "C", open_dataset: "OpenDataset"
) -> "tuple[FinetuneData, C]":
    """What a task trains on and validates with, and the images of `--extra`; see `Task.load_data`.

    Raises:
        DataError: see `with_extra_images`.
    """
    extra = _open_extra(
        config, open_dataset, masks=task.pixels
    )  # a typing error is found before images are read
    data, config = task.load_data(session, config, open_dataset)
    return with_extra_images(session, config, data, extra), config


def _open_extra(config: "FinetuneConfig", open_dataset: "OpenDataset", *, masks: bool) -> "Dataset | None":
    """The dataset of `--extra`, if there is one.

    Raises:
        DataError: nothing there, or no labels or masks.
    """
    if config.extra is None:
        return None
    needs = {"masks": True} if masks else {"labelled": True}
    return open_dataset("extra", split="train", parts=("extra",), **needs)


def with_extra_images(
    session: "Session", config: "FinetuneConfig", data: "FinetuneData", extra: "Dataset | None"
) -> "FinetuneData":
    """The data with the images of `--extra` among those that are trained on; validation images stay what they are.

    Both kinds are shuffled together. An image of `--extra` that is also a validation image or a labelled one is left
    out. The loss of the others is weighted; the mean weight of all images is 1, so that it is an unbiased estimate in
    every batch: one of labelled images alone has a larger loss than one without any.

    Raises:
        DataError: another class than the labelled images have, or no image is left.
    """
    if extra is None:
        return data
    targets = _targets(extra, data.classes, config.extra or "")
    joined, images = _joined(session, config, data, extra, targets)
    images.notes = data.images.notes | {"labeled": len(data.images), "extra": len(images) - len(data.images)}
    _print_classes(session, config, data, images)
    if config.extra_weight in (None, 1.0):
        return replace(data, train=joined, images=images)
    weights = torch.ones(len(images))
    weights[images.sample_indices >= len(data.train)] = config.extra_weight
    return replace(data, train=joined, images=images, weights=weights / weights.mean())


def _targets(extra: "Dataset", classes: list[str], spec: str) -> list[int]:
    """Class indices of the extra images among the classes of the labelled ones; -1 with masks.

    Raises:
        DataError: the classes differ.
    """
    from ssl_seg.workflows.mask_metadata import check_classes

    if extra.masks:
        check_classes(extra, extra.classes, classes, spec)
        return [target for _, target in extra.samples]
    unknown = [name for name in extra.classes if name not in classes]
    for index, (_, target) in enumerate(extra.samples):
        if target < 0 or extra.classes[target] in unknown:
            name = extra.classes[target] if target >= 0 else ""
            raise DataError(
                f"class {name!r} of {spec} does not occur in the training set{did_you_mean(name, classes)}",
                where=extra.origin(index),
                next=f"the training classes are {', '.join(classes[:8])}{', ...' * (len(classes) > 8)}",
            )
    return [classes.index(extra.classes[target]) for _, target in extra.samples]


def _joined(
    session: "Session", config: "FinetuneConfig", data: "FinetuneData", extra: "Dataset", targets: list[int]
) -> "tuple[Joined, ImageCache]":
    """Labelled and extra images, without the extra ones that are also validation or labelled images."""
    joined = Joined(data.train, extra, targets)
    images, count = session.image_cache(joined, config), len(data.train)
    twins = is_in(images, data.images) & (images.sample_indices >= count)
    in_val = twins & False if data.val_images is None else is_in(images, data.val_images)
    in_val &= images.sample_indices >= count
    for kind, found in (("labeled training", twins), ("validation", in_val)):
        if number := int(found.sum()):
            session.progress.print_line(
                f"{config.extra}: {number} of {pluralize(len(extra), 'image')} left out, as {kind} images"
            )
    if bool((out := twins | in_val).any()):
        gone = set((images.sample_indices[out] - count).tolist())
        kept = [index for index in range(len(extra)) if index not in gone]
        joined = Joined(data.train, Subset(extra, kept), [targets[index] for index in kept])
        images = session.image_cache(joined, config)
    if len(images) == len(data.images):
        raise DataError(f"no image of {config.extra} is left to train on", next="omit --extra")
    return joined, images


def _print_classes(
    session: "Session", config: "FinetuneConfig", data: "FinetuneData", images: "ImageCache"
) -> None:
    """Say of which classes the extra images are."""
    from ssl_seg.data.mask_counts import count_masks

    if data.counts is None:
        names = [
            images.classes[target] for target in images.targets[images.sample_indices >= len(data.train)]
        ]
        balance = ", ".join(f"{name}: {count:,}" for name, count in Counter(names).most_common(_SHOWN))
    else:
        all_masks = count_masks(images, data.metadata["exclude"])
        balance = replace(all_masks, pixels=all_masks.pixels - data.counts.pixels).histogram()
    weight = "" if config.extra_weight is None else f" of weight {config.extra_weight:g}"
    count = pluralize(len(images) - len(data.images), "image")
    session.progress.print_line(
        f"{config.extra}: {count}{weight} besides {len(data.images)} labeled; {balance}"
    )
