"""What finished runs show: scores over seeds, their intervals, and which differences are more than chance."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_seg.metrics.mean_iou import areas, mean_of_areas
from ssl_seg.results.chance import holm, sign_flips, wilson
from ssl_seg.results.iou import CONFUSIONS, bootstrap, read_confusions, swaps
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.results.scores import read_scores
from ssl_seg.study.config import StageConfig
from ssl_seg.utils.text import from_csv_cell

PREDICTIONS = "val_predictions.csv"
_EQUAL = 1e-9  # a score is written in full


@dataclass(frozen=True)
class Row:
    """A stage's finished runs.

    Attributes:
        name, title: the stage's.
        planned: how many seeds were asked for.
        last, best: by seed, the score of the last epoch, and the highest of all.
        images: (file, label) of the validation images; empty if nothing is known of single images.
        right: (S, N) whether each seed, in the order of `last`, was right about each image; of masks,
            (S, N, 2, C) the `areas` of each.
        why: what stands in the way of an interval and of tests.
        kept: of masks, (C,) whether a class counts.
        published: the score that somebody else has reported.
    """

    name: str
    title: str
    planned: int
    last: dict[int, float]
    best: dict[int, float]
    images: list[tuple[str, str]]
    right: NDArray[np.int64]
    why: str = ""
    kept: NDArray[np.bool_] | None = None
    published: float | None = None

    @property
    def label(self) -> str:
        return self.title if self.title.startswith(self.name) else f"{self.name}: {self.title}"

    def of(self, seeds: Sequence[int]) -> NDArray[np.int64]:
        """(len(seeds), N, ...) of `right`: these seeds' part."""
        order = list(self.last)
        return self.right[[order.index(seed) for seed in seeds]]

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.images:
            return None
        if self.kept is not None:
            return bootstrap(self.right, self.kept)
        return wilson(fmean(self.last.values()), len(self.images))


def read_row(stage: StageConfig, folders: Mapping[int, Path], score: str) -> Row:
    """The row of a stage.

    Args:
        stage: as the study's file has it.
        folders: of its finished runs, by seed.
        score: a key of `scores.jsonl`.
    """
    last, best, found, why = {}, {}, [], ""
    for seed, folder in folders.items():
        warn_of_damage(folder)
        values = [line[score] for line in read_scores(folder) if score in line]
        if not values or not isfinite(values[-1]):
            what = f"{score} is {values[-1]}" if values else f"no {score}"
            why = f"{what} in {folder.name}"
            continue
        last[seed], best[seed] = values[-1], max(filter(isfinite, values))
        try:
            read = _masks if (folder / CONFUSIONS).exists() else _predictions
            found.append(read(folder, score, values[-1]))
        except _Unusable as trouble:
            why = str(trouble)
    if not last:
        why = why or "no finished run"
    elif not why:
        unlike = (_unlike(each, found[0], "its seeds were validated on") for each in found)
        why = next(filter(None, unlike), "")
    images, right, kept = _NOTHING if why else found[0]
    if not why:
        right = np.stack([each.right for each in found])
    return Row(
        stage.name, stage.title, len(stage.seeds), last, best, images, right, why, kept, stage.published
    )


class _Unusable(Exception):
    """Predictions that cannot be used, and why."""


class _Seen(NamedTuple):
    """What is known of single images; see `Row`."""

    images: list[tuple[str, str]]
    right: NDArray[np.int64]
    kept: NDArray[np.bool_] | None


_NOTHING = _Seen([], np.zeros(0, np.int64), None)


def _unlike(one: _Seen | Row, two: _Seen | Row, how: str) -> str:
    """Why the numbers of two runs are not about the same; empty if they are."""
    if one.images != two.images:
        return f"{how} different images"
    if (one.kept is None) != (two.kept is None) or not np.array_equal(_or_none(one.kept), _or_none(two.kept)):
        return f"{how} different classes"
    return ""


def _or_none(kept: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_) if kept is None else kept


def _predictions(folder: Path, score: str, value: float) -> _Seen:
    """The images and whether each was recognised, if their share is the score."""
    path = folder / PREDICTIONS
    if not path.exists():
        raise _Unusable(f"no {PREDICTIONS}: no per-image results")
    with path.open(newline="", encoding="utf-8") as file:
        lines = [
            {column: from_csv_cell(cell or "") for column, cell in line.items() if column}
            for line in csv.DictReader(file)
        ]
    try:
        images = [(line["filename"], line["label"]) for line in lines]
        right = np.array([line["label"] == line["predicted"] for line in lines], np.int64)
    except KeyError as error:
        raise _Unusable(f"{PREDICTIONS} has no column {error}") from error
    if not lines or abs(right.mean() - value) > _EQUAL:
        raise _Unusable(f"{score} differs from the accuracy in {PREDICTIONS}")
    return _Seen(images, right, None)


def _masks(folder: Path, score: str, value: float) -> _Seen:
    """The images and what their IoU is made of, if the score is the mean IoU of all."""
    try:
        names, confusions, kept = read_confusions(folder / CONFUSIONS)
    except ValueError as error:
        raise _Unusable(str(error)) from error
    found = areas(confusions)
    if abs(float(mean_of_areas(found.sum(axis=0), kept)) - value) > _EQUAL:
        raise _Unusable(f"{score} differs from the mean IoU of {CONFUSIONS}")
    return _Seen([(name, "") for name in names], found, kept)


@dataclass(frozen=True)
class Pair:
    """Two rows.

    Attributes:
        names: `A - B`.
        differences: of the scores of the last epoch, by seed, for every seed that both have.
        p: of the paired test of their mean, after Holm's correction; None if there is none.
        why: there is none.
        partly: one of the two has seeds that the other lacks; they do not count here.
    """

    names: str
    differences: dict[int, float]
    p: float | None
    why: str = ""
    partly: bool = False


def _test(one: Row, two: Row, seeds: Sequence[int]) -> float:
    if one.kept is not None:
        return swaps(one.of(seeds), two.of(seeds), one.kept)
    return sign_flips((one.of(seeds) - two.of(seeds)).sum(axis=0))


def compare(rows: Sequence[Row]) -> list[Pair]:
    """Every two rows, tested on the images that both were measured on.

    Difference and p are of the same numbers: the means over the seeds that both rows have.
    """
    pairs, tested = [], []
    for one, two in combinations(rows, 2):
        seeds = [seed for seed in one.last if seed in two.last]
        why = next((f"{row.name}: {row.why}" for row in (one, two) if row.why), "")
        why = why or _unlike(one, two, "validated on") or ("" if seeds else "no seed in common")
        differences = {seed: one.last[seed] - two.last[seed] for seed in seeds}
        partly = bool(seeds) and not len(seeds) == len(one.last) == len(two.last)
        pairs.append(Pair(f"{one.name} - {two.name}", differences, None, why, partly))
        if not why:
            tested.append(_test(one, two, seeds))
    values = iter(holm(tested))
    return [pair if pair.why else replace(pair, p=next(values)) for pair in pairs]
