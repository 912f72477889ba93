"""A share of labelled images that is held out for validation, for data without a split."""

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ssl_seg.augment import stateless_rng
from ssl_seg.base import Dataset
from ssl_seg.data.tables import column_names, read_table
from ssl_seg.errors import DataError, UsageError, did_you_mean, pluralize

_NUMBER = re.compile(r"\d*\.\d+|\d+(\.\d*)?")
_VIEW = 1  # another draw than that of label subsets


def share_in(text: str | None) -> float | None:
    """The share that a validation set's name stands for: of `0.2` 0.2; None of any other text.

    Raises:
        UsageError: a number that is no share.
    """
    if not text or not _NUMBER.fullmatch(text):
        return None
    if not 0 < (share := float(text)) < 1:
        raise UsageError(
            f"--val {text}: a share of TRAIN must be between 0 and 1",
            next=f"--val 0.2; a folder: --val ./{text}",
        )
    return share


def groups_of(dataset: Dataset, indices: Sequence[int], by: str) -> list[str]:
    """The group of each image: images of one group are held out together or not at all.

    Args:
        indices: of the images in the dataset.
        by: a column of the CSV file that names the images; or a folder level of their paths: `1` is the first
            folder below the root, `-1` the folder that holds the image.

    Raises:
        UsageError: no such column or level, or all images are in one group.
    """
    path = getattr(dataset, "path", None)
    if re.fullmatch(r"-?[1-9]\d*", by):
        names = [_folder(dataset.samples[index][0], int(by)) for index in indices]
    elif path is None:
        raise UsageError(
            f"val.group={by}: the images are not listed in a CSV file",
            next="-o val.group=1  # the first folder of each path; -1: the last",
        )
    else:
        columns = column_names(path)
        if by.casefold() not in columns:
            what = f"{path} has no column {by!r}{did_you_mean(by, columns)}"
            raise UsageError(what, where=f"columns: {', '.join(columns)}", next="-o val.group=COLUMN")
        groups = {line: row[by.casefold()] for line, row in read_table(path)}
        names = [groups[dataset.lines[index]] for index in indices]  # type: ignore[attr-defined]
    if len(set(names)) < 2:
        raise UsageError(
            f"val.group={by}: all {pluralize(len(names), 'image')} are in one group, {names[0]!r}",
            where=dataset.origin(indices[0]),
            next="another column or folder level",
        )
    return names


def _folder(name: str, level: int) -> str:
    """The name of a folder of a path; equal names are one group wherever they lie, as patients of several classes."""
    folders = PurePath(name).parts[:-1]
    position = level - 1 if level > 0 else level
    if not -len(folders) <= position < len(folders):
        raise UsageError(
            f"val.group={level}: {name} has {pluralize(len(folders), 'folder')}", next="-o val.group=1"
        )
    return folders[position]


def hold_out(
    weights: NDArray[np.int64],
    digests: Tensor,
    share: float,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Which images are held out: of every class nearly this share, and never all.

    Iterative stratification (Sechidis et al. 2011), the rarest class first. Images are chosen by their content, not
    by their names or order, and equal images stay together, so every run on the same data has the same split.

    Args:
        weights: (N, C) pixels of each class in each image; one-hot for labels of whole images.
        digests: (N,) int64 hashes of the images.
        share: in (0, 1).
        groups: of each image; images of a group stay together.
        seed: another one gives another split.

    Raises:
        DataError: no class is in two images, or groups, so that none can be held out.
    """
    unit_of_row = _units(digests, groups)
    held = np.zeros((int(unit_of_row.max()) + 1, weights.shape[1]), dtype=np.float64)
    np.add.at(held, unit_of_row, weights.astype(np.float64))
    draws = stateless_rng.uniform(seed, 0, _VIEW, digests ^ (digests >> 32), 1)[0].numpy()
    draw_of_unit = np.full(len(held), np.inf)
    np.minimum.at(draw_of_unit, unit_of_row, draws)
    order = np.argsort(draw_of_unit, kind="stable")
    chosen = np.zeros(len(held), dtype=np.bool_)
    chosen[order] = _stratified(held[order], share)
    if not chosen.any():
        what = "groups" if groups is not None else "different images"
        raise DataError(f"no class is in two {what}: none can be held out", next="--val DATA")
    return chosen[unit_of_row]


def _units(digests: Tensor, groups: Sequence[str] | None) -> NDArray[np.int64]:
    """(N,) number of the unit of each image: of equal images, and of groups that share an image."""
    _, equal = torch.unique(digests, return_inverse=True)
    units: NDArray[np.int64] = equal.numpy()
    if groups is None:
        return units
    _, group = np.unique(np.array(groups), return_inverse=True)
    count = int(units.max()) + int(group.max()) + 2
    edges = coo_array((np.ones(len(units)), (units, group + units.max() + 1)), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    _, numbered = np.unique(component[units], return_inverse=True)
    return numbered.astype(np.int64)


def _stratified(weights: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """(U,) bool: the first units that bring every class nearest to its share; each class keeps one."""
    present = weights > 0
    chosen = np.zeros(len(weights), dtype=np.bool_)
    wanted, got, left = share * weights.sum(axis=0), np.zeros(weights.shape[1]), present.sum(axis=0)
    scale = np.maximum(weights.sum(axis=0), 1)

    def take(unit: np.intp) -> None:
        nonlocal got, left
        chosen[unit] = True
        got, left = got + weights[unit], left - present[unit]

    def gain(unit: np.intp) -> float:
        """Decrease of the distance between the classes and their shares, summed over the classes."""
        return float(((np.abs(got - wanted) - np.abs(got + weights[unit] - wanted)) / scale).sum())

    for index in np.argsort(left, kind="stable"):
        for unit in np.flatnonzero(present[:, index]):
            if got[index] >= wanted[index]:
                break
            if not chosen[unit] and gain(unit) > 0 and (left[present[unit]] > 1).all():
                take(unit)
        free = [unit for unit in np.flatnonzero(present[:, index]) if (left[present[unit]] > 1).all()]
        if not got[index] and free:
            take(min(free, key=lambda unit: weights[unit, index]))
    return chosen
