"""What finished runs show: scores over seeds, their intervals, and which differences are more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import isfinite
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ssl_seg.metrics.mean_iou import areas, mean_of_areas
from ssl_seg.results.chance import holm_correction, sign_flip_test, wilson_interval
from ssl_seg.results.iou import CONFUSIONS, bootstrap_interval, paired_permutation_test, read_confusions
from ssl_seg.results.predictions import (
    NO_IMAGES,
    PROBE,
    VALIDATION,
    PerImage,
    UnusableError,
    read_predictions,
)
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.results.scores import read_scores
from ssl_seg.study.config import StageConfig

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
        history: by seed, the score of every epoch that has one.
        epoch_flops: operations of an epoch of training; None if unknown.
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
    history: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    epoch_flops: float | None = None

    @property
    def label(self) -> str:
        return self.title if self.title.startswith(self.name) else f"{self.name}: {self.title}"

    @property
    def flops(self) -> float | None:
        """Operations of the whole training; None if unknown."""
        epochs = max((max(scores) for scores in self.history.values()), default=0)
        return None if self.epoch_flops is None else self.epoch_flops * epochs

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
    last, best, history, found, reason = {}, {}, {}, [], ""
    for seed, folder in folders.items():
        warn_of_damage(folder)
        scores = {line["epoch"]: line[score] for line in read_scores(folder) if score in line}
        values = list(scores.values())
        if not values or not isfinite(values[-1]):
            what = f"{score} is {values[-1]}" if values else f"no {score}"
            reason = f"{what} in {folder.name}"
            continue
        last[seed], best[seed], history[seed] = values[-1], max(filter(isfinite, values)), scores
        try:
            read = _masks if (folder / CONFUSIONS).exists() else _predictions
            found.append(read(folder, score, values[-1]))
        except UnusableError as error:
            reason = str(error)
    if not last:
        reason = reason or "no finished run"
    elif not reason:
        differences = (_difference(each, found[0], "its seeds were validated on") for each in found)
        reason = next(filter(None, differences), "")
    images, correct, scored_classes = NO_IMAGES if reason else found[0]
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
        history,
    )


def _difference(one: PerImage | StageScores, two: PerImage | StageScores, relation: str) -> str:
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


def _predictions(folder: Path, score: str, value: float) -> PerImage:
    """The images and whether each was recognised, if their share is the score."""
    name = PROBE if score.startswith("probe_") else VALIDATION
    found = read_predictions(folder / name)
    if abs(found.correct.mean() - value) > _EQUAL:
        raise UnusableError(f"{score} differs from the accuracy in {name}")
    return found


def _masks(folder: Path, score: str, value: float) -> PerImage:
    """The images and what their IoU is made of, if the score is the mean IoU of all."""
    try:
        names, confusions, scored_classes = read_confusions(folder / CONFUSIONS)
    except ValueError as error:
        raise UnusableError(str(error)) from error
    found = areas(confusions)
    if abs(float(mean_of_areas(found.sum(axis=0), scored_classes)) - value) > _EQUAL:
        raise UnusableError(f"{score} differs from the mean IoU of {CONFUSIONS}")
    return PerImage([(name, "") for name in names], found, scored_classes)


def compute_budget(rows: Sequence[StageScores]) -> float | None:
    """The operations of the cheapest row that was trained; None unless those of every row are known."""
    costs = [row.flops for row in rows if row.last]
    known = [cost for cost in costs if cost is not None]
    return min(filter(None, known), default=None) if len(known) == len(costs) else None


def at_compute(row: StageScores, budget: float) -> tuple[int | None, list[float]]:
    """The last epoch of a row that so many operations pay for, and the scores of its seeds at that epoch.

    Returns:
        None and no scores for the untrained network, or if not every seed was probed by then.
    """
    if not row.epoch_flops:
        return None, []
    affordable = budget * (1 + 1e-9) // row.epoch_flops
    epochs = [set(scores) for scores in row.history.values()]
    common = [epoch for epoch in set.intersection(*epochs) if epoch <= affordable] if epochs else []
    return (max(common), [scores[max(common)] for scores in row.history.values()]) if common else (None, [])


@dataclass(frozen=True)
class Comparison:
    """Two rows.

    Attributes:
        names: of the two rows.
        differences: of the scores of the last epoch, by seed, for every seed that both have.
        p: of the paired test of their mean, after Holm's correction; None if there is none.
        reason: there is none.
        partly: one of the two has seeds that the other lacks; they do not count here.
    """

    names: tuple[str, str]
    differences: dict[int, float]
    p: float | None
    reason: str = ""
    partly: bool = False

    @property
    def label(self) -> str:
        """`A - B`."""
        return " - ".join(self.names)


def _test(one: StageScores, two: StageScores, seeds: Sequence[int]) -> float:
    if one.scored_classes is not None:
        return paired_permutation_test(one.correct_for(seeds), two.correct_for(seeds), one.scored_classes)
    return sign_flip_test((one.correct_for(seeds) - two.correct_for(seeds)).sum(axis=0))


def compare(rows: Sequence[StageScores], baseline: str = "") -> list[Comparison]:
    """Every two rows, tested on the images that both were measured on.

    Difference and p are of the same numbers: the means over the seeds that both rows have.

    Args:
        baseline: the name of the row to compare each other row with, instead.
    """
    base = next((row for row in rows if row.name == baseline), None)
    both = combinations(rows, 2) if base is None else ((row, base) for row in rows if row is not base)
    pairs, tested = [], []
    for one, two in both:
        seeds = [seed for seed in one.last if seed in two.last]
        reason = next((f"{row.name}: {row.reason}" for row in (one, two) if row.reason), "")
        reason = reason or _difference(one, two, "validated on") or ("" if seeds else "no seed in common")
        differences = {seed: one.last[seed] - two.last[seed] for seed in seeds}
        partly = bool(seeds) and not len(seeds) == len(one.last) == len(two.last)
        pairs.append(Comparison((one.name, two.name), differences, None, reason, partly))
        if not reason:
            tested.append(_test(one, two, seeds))
    values = iter(holm_correction(tested))
    return [pair if pair.reason else replace(pair, p=next(values)) for pair in pairs]
