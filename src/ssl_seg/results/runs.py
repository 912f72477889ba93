"""What finished runs show: scores over seeds, their intervals, and which differences are more than chance."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ssl_seg.results.iou import CONFUSIONS, bootstrap, mean_iou, read_confusions, swaps
from ssl_seg.study.config import Stage

PREDICTIONS = "val_predictions.csv"
FLIPS = 10_000
_Z = 1.959963984540054  # of a normal distribution, 95 % lie within


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share that was found among `count` independent cases (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_flips(differences: NDArray[np.int64]) -> float:
    """How often chance alone gives a sum as far from 0: the paired permutation test, two-sided.

    If two models are equally good, each image's difference could as well have the other sign. All
    2^m signs of the m images that differ are tried where those are fewer than `FLIPS`, otherwise
    `FLIPS` random ones with a fixed seed.

    Args:
        differences: (N,) whole numbers, one per image, so that equal sums are equal exactly.
    """
    moved = differences[differences != 0].astype(np.float64)
    seen = abs(moved.sum())
    if 2 ** min(len(moved), 64) <= FLIPS:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(moved))))
        return float(np.mean(np.abs(signs @ moved) >= seen))
    random, extreme, part = np.random.default_rng(0), 0, 100
    for _ in range(FLIPS // part):
        signs = random.integers(0, 2, (part, len(moved)), np.int8) * 2.0 - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ moved) >= seen))
    return (extreme + 1) / (FLIPS + 1)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that one in twenty families has a false find (Holm 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True)
class Row:
    """A stage's finished runs.

    Attributes:
        name, title: the stage's.
        planned: how many seeds were asked for.
        last, best: by seed, the score of the last epoch, and the highest of all.
        images: (file, label) of the validation images; empty if nothing is known of single images.
        right: (N,) how many seeds were right about each; of masks, their (N, C, C + 1) confusion
            matrices, summed over seeds.
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

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.images:
            return None
        if self.kept is not None:
            return bootstrap(self.right.astype(np.float64), self.kept)
        return wilson(fmean(self.last.values()), len(self.images))


def read_row(stage: Stage, folders: Mapping[int, Path], score: str) -> Row:
    """The row of a stage.

    Args:
        stage: as the study's file has it.
        folders: of its finished runs, by seed.
        score: a key of `scores.jsonl`.
    """
    last, best, found, why = {}, {}, [], ""
    kept = None
    for seed, folder in folders.items():
        values = [line[score] for line in read_scores(folder) if score in line]
        if not values:
            why = f"no {score} in {folder.name}"
            continue
        last[seed], best[seed] = values[-1], max(values)
        try:
            if (folder / CONFUSIONS).exists():
                images, right, kept = _masks(folder, score, values[-1])
            else:
                images, right = _predictions(folder, score, values[-1])
            found.append((images, right))
        except _Unusable as trouble:
            why = str(trouble)
    if not last:
        why = why or "no run is finished"
    elif not why and any(images != found[0][0] for images, _ in found):
        why = "its seeds were measured on different images"
    seen: list[tuple[str, str]] = [] if why else found[0][0]
    right = np.zeros(0, np.int64) if why else np.sum([r for _, r in found], axis=0)
    return Row(
        stage.name,
        stage.title,
        len(stage.seeds),
        last,
        best,
        seen,
        right,
        why,
        kept,
        stage.published,
    )


def read_scores(folder: Path) -> list[dict[str, float]]:
    """All whole lines of a run's `scores.jsonl`."""
    path = folder / "scores.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


class _Unusable(Exception):
    """Predictions that cannot be used, and why."""


def _predictions(folder: Path, score: str, value: float) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """The images and whether each was recognised, if their share is the score."""
    path = folder / PREDICTIONS
    if not path.exists():
        raise _Unusable(f"no {PREDICTIONS}: nothing is known of single images")
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    try:
        images = [(line["filename"], line["label"]) for line in lines]
        right = np.array([line["label"] == line["predicted"] for line in lines], np.int64)
    except KeyError as error:
        raise _Unusable(f"{PREDICTIONS} has no column {error}") from error
    if not lines or abs(right.mean() - value) * len(lines) > 0.5:
        raise _Unusable(f"{score} is not the share of right answers in {PREDICTIONS}")
    return images, right


def _masks(
    folder: Path, score: str, value: float
) -> tuple[list[tuple[str, str]], NDArray[np.int64], NDArray[np.bool_]]:
    """The images and their confusion matrices, if the score is their mean IoU."""
    try:
        names, confusions, kept = read_confusions(folder / CONFUSIONS)
    except ValueError as error:
        raise _Unusable(str(error)) from error
    if abs(float(mean_iou(confusions.sum(axis=0).astype(np.float64), kept)) - value) > 1e-9:
        raise _Unusable(f"{score} is not the mean IoU of {CONFUSIONS}")
    return [(name, "") for name in names], confusions, kept


@dataclass(frozen=True)
class Pair:
    """Two rows.

    Attributes:
        names: `A - B`.
        differences: of the scores of the last epoch, for every seed that both have.
        p: of the paired test, after Holm's correction; None if there is none.
        why: there is none.
    """

    names: str
    differences: list[float]
    p: float | None
    why: str = ""


def _or_none(kept: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_) if kept is None else kept


def _test(one: Row, two: Row) -> float:
    if one.kept is not None:
        return swaps(one.right / len(one.last), two.right / len(two.last), one.kept)
    # whole numbers: each row's right answers times the other's seeds
    return sign_flips(one.right * len(two.last) - two.right * len(one.last))


def compare(rows: Sequence[Row]) -> list[Pair]:
    """Every two rows, tested on the images that both were measured on."""
    pairs, tested = [], []
    for one, two in combinations(rows, 2):
        differences = [one.last[seed] - two.last[seed] for seed in one.last if seed in two.last]
        why = next((f"{row.name}: {row.why}" for row in (one, two) if row.why), "")
        if not why and one.images != two.images:
            why = "measured on different images"
        if not why and not np.array_equal(_or_none(one.kept), _or_none(two.kept)):
            why = "different classes count"
        pairs.append(Pair(f"{one.name} - {two.name}", differences, None, why))
        if not why:
            tested.append(_test(one, two))
    values = iter(holm(tested))
    return [pair if pair.why else replace(pair, p=next(values)) for pair in pairs]
