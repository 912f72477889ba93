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
from ssl_seg.results.chance import holm_correction, sign_flip_test, wilson_interval
from ssl_seg.results.iou import CONFUSIONS, bootstrap_interval, paired_permutation_test, read_confusions
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.results.scores import read_scores
from ssl_seg.study.config import StageConfig
from ssl_seg.utils.text import from_csv_cell

PREDICTIONS = "val_predictions.csv"
_EQUAL = 1e-9  # a score is written in full


@dataclass(frozen=True)
class StageScores:
    """A stage's finished runs.

    Attributes:
        name, title: the stage's.
        planned: how many seeds were asked for.
        last, best: by seed, the score of the last epoch, and the highest of all.
        images: (file, label) of the validation images; empty if nothing is known of single images.
        correct: (S, N) whether each seed, in the order of `last`, was right about each image; of masks,
            (S, N, 2, C) the `areas` of each.
        reason: what stands in the way of an interval and of tests.
        scored_classes: of masks, (C,) whether a class counts.
        published: the score that somebody else has reported.
    """

    name: str
    title: str
    planned: int
    last: dict[int, float]
    best: dict[int, float]
    images: list[tuple[str, str]]
    correct: NDArray[np.int64]
    reason: str = ""
    scored_classes: NDArray[np.bool_] | None = None
    published: float | None = None

    @property
    def label(self) -> str:
        return self.title if self.title.startswith(self.name) else f"{self.name}: {self.title}"

    def correct_for(self, seeds: Sequence[int]) -> NDArray[np.int64]:
        """(len(seeds), N, ...) of `correct`: these seeds' part."""
        order = list(self.last)
        return self.correct[[order.index(seed) for seed in seeds]]

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.images:
            return None
        if self.scored_classes is not None:
            return bootstrap_interval(self.correct, self.scored_classes)
        return wilson_interval(fmean(self.last.values()), len(self.images))


def read_row(stage: StageConfig, folders: Mapping[int, Path], score: str) -> StageScores:
    """The row of a stage.

    Args:
        stage: as the study's file has it.
        folders: of its finished runs, by seed.
        score: a key of `scores.jsonl`.
    """
    last, best, found, reason = {}, {}, [], ""
    for seed, folder in folders.items():
        warn_of_damage(folder)
        values = [line[score] for line in read_scores(folder) if score in line]
        if not values or not isfinite(values[-1]):
            what = f"{score} is {values[-1]}" if values else f"no {score}"
            reason = f"{what} in {folder.name}"
            continue
        last[seed], best[seed] = values[-1], max(filter(isfinite, values))
        try:
            read = _masks if (folder / CONFUSIONS).exists() else _predictions
            found.append(read(folder, score, values[-1]))
        except _UnusableError as error:
            reason = str(error)
    if not last:
        reason = reason or "no finished run"
    elif not reason:
        differences = (_difference(each, found[0], "its seeds were validated on") for each in found)
        reason = next(filter(None, differences), "")
    images, correct, scored_classes = _NO_IMAGES if reason else found[0]
    if not reason:
        correct = np.stack([each.correct for each in found])
    return StageScores(
        stage.name,
        stage.title,
        len(stage.seeds),
        last,
        best,
        images,
        correct,
        reason,
        scored_classes,
        stage.published,
    )


class _UnusableError(Exception):
    """Predictions that cannot be used, and why."""


class _PerImage(NamedTuple):
    """What is known of single images; see `StageScores`."""

    images: list[tuple[str, str]]
    correct: NDArray[np.int64]
    scored_classes: NDArray[np.bool_] | None


_NO_IMAGES = _PerImage([], np.zeros(0, np.int64), None)


def _difference(one: _PerImage | StageScores, two: _PerImage | StageScores, relation: str) -> str:
    """Why the numbers of two runs are not about the same; empty if they are."""
    if one.images != two.images:
        return f"{relation} different images"
    if (one.scored_classes is None) != (two.scored_classes is None) or not np.array_equal(
        _or_none(one.scored_classes), _or_none(two.scored_classes)
    ):
        return f"{relation} different classes"
    return ""


def _or_none(scored_classes: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_) if scored_classes is None else scored_classes


def _predictions(folder: Path, score: str, value: float) -> _PerImage:
    """The images and whether each was recognised, if their share is the score."""
    path = folder / PREDICTIONS
    if not path.exists():
        raise _UnusableError(f"no {PREDICTIONS}: no per-image results")
    with path.open(newline="", encoding="utf-8") as file:
        lines = [
            {column: from_csv_cell(cell or "") for column, cell in line.items() if column}
            for line in csv.DictReader(file)
        ]
    try:
        images = [(line["filename"], line["label"]) for line in lines]
        correct = np.array([line["label"] == line["predicted"] for line in lines], np.int64)
    except KeyError as error:
        raise _UnusableError(f"{PREDICTIONS} has no column {error}") from error
    if not lines or abs(correct.mean() - value) > _EQUAL:
        raise _UnusableError(f"{score} differs from the accuracy in {PREDICTIONS}")
    return _PerImage(images, correct, None)


def _masks(folder: Path, score: str, value: float) -> _PerImage:
    """The images and what their IoU is made of, if the score is the mean IoU of all."""
    try:
        names, confusions, scored_classes = read_confusions(folder / CONFUSIONS)
    except ValueError as error:
        raise _UnusableError(str(error)) from error
    found = areas(confusions)
    if abs(float(mean_of_areas(found.sum(axis=0), scored_classes)) - value) > _EQUAL:
        raise _UnusableError(f"{score} differs from the mean IoU of {CONFUSIONS}")
    return _PerImage([(name, "") for name in names], found, scored_classes)


@dataclass(frozen=True)
class Comparison:
    """Two rows.

    Attributes:
        label: `A - B`.
        differences: of the scores of the last epoch, by seed, for every seed that both have.
        p: of the paired test of their mean, after Holm's correction; None if there is none.
        reason: there is none.
        partly: one of the two has seeds that the other lacks; they do not count here.
    """

    label: str
    differences: dict[int, float]
    p: float | None
    reason: str = ""
    partly: bool = False


def _test(one: StageScores, two: StageScores, seeds: Sequence[int]) -> float:
    if one.scored_classes is not None:
        return paired_permutation_test(one.correct_for(seeds), two.correct_for(seeds), one.scored_classes)
    return sign_flip_test((one.correct_for(seeds) - two.correct_for(seeds)).sum(axis=0))


def compare(rows: Sequence[StageScores]) -> list[Comparison]:
    """Every two rows, tested on the images that both were measured on.

    Difference and p are of the same numbers: the means over the seeds that both rows have.
    """
    pairs, tested = [], []
    for one, two in combinations(rows, 2):
        seeds = [seed for seed in one.last if seed in two.last]
        reason = next((f"{row.name}: {row.reason}" for row in (one, two) if row.reason), "")
        reason = reason or _difference(one, two, "validated on") or ("" if seeds else "no seed in common")
        differences = {seed: one.last[seed] - two.last[seed] for seed in seeds}
        partly = bool(seeds) and not len(seeds) == len(one.last) == len(two.last)
        pairs.append(Comparison(f"{one.name} - {two.name}", differences, None, reason, partly))
        if not reason:
            tested.append(_test(one, two, seeds))
    values = iter(holm_correction(tested))
    return [pair if pair.reason else replace(pair, p=next(values)) for pair in pairs]
