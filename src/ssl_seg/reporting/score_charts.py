"""Scores over epochs as charts: one for each quantity, with the lines of any runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ssl_seg.figures.curves import EXCLUDED_SCORES
from ssl_seg.reporting.svg import Series, line_chart
from ssl_seg.results.score_text import score_name

Scores = Sequence[Mapping[str, Any]]

_OF_TRAINING = {"val_top1": "accuracy"}  # otherwise the same without `val_`


@dataclass(frozen=True)
class ChartedRuns:
    """What is one line of a chart: the mean over runs, between the lowest and the highest.

    Attributes:
        name: of the line, where several runs have the score.
        color_index: of its color and dashes.
        runs: name -> lines of `scores.jsonl`.
        faint: drawn thin and gray, behind the others.
    """

    name: str
    color_index: int
    runs: Sequence[tuple[str, Scores]]
    faint: bool = False


def score_charts(drawn: Sequence[ChartedRuns]) -> tuple[list[tuple[str, str]], bool]:
    """Draw every score; validation and training of one quantity are in one chart.

    Returns:
        (quantity, SVG) of each chart, and whether a chart has scores on the training images too.
    """
    keys = _score_keys(scores for each in drawn for _, scores in each.runs)
    training = {_of_training(key) for key in keys if key.startswith("val_")}
    charts, pairs = [], 0
    for key in (key for key in keys if key not in training):
        of_training = _of_training(key) if key.startswith("val_") else ""
        pairs += of_training in keys
        lines = [
            line
            for each in drawn
            for line in (*_line(each, key), *_line(each, "" if each.faint else of_training, dashed=True))
        ]
        if chart := line_chart(lines, score_name(key)):
            charts.append((score_name(key), chart))
    return charts, pairs > 0


def _score_keys(runs: Iterable[Scores]) -> list[str]:
    """The scores that get a chart, loss first."""
    found = dict.fromkeys(key for scores in runs for line in scores for key in line)
    keys = [key for key in found if key not in EXCLUDED_SCORES]
    return sorted(keys, key=lambda key: (key != "loss", not key.startswith(("val_", "probe_"))))


def _of_training(key: str) -> str:
    """The score on the training images of the same quantity."""
    return _OF_TRAINING.get(key, key.removeprefix("val_"))


def _line(drawn: ChartedRuns, key: str, *, dashed: bool = False) -> list[Series]:
    """The mean over runs of a score at each epoch, between the lowest and the highest; none without a value."""
    found: dict[int, list[float]] = {}
    for _, scores in drawn.runs:
        for line in scores:
            if isinstance(line.get(key), int | float) and "epoch" in line:
                found.setdefault(line["epoch"], []).append(line[key])
    if not found:
        return []
    names = [name for name, scores in drawn.runs if any(key in line for line in scores)]
    label = f"{drawn.name}, training" if dashed else names[0] if len(names) == 1 else drawn.name
    points = [(epoch, _mean(values)) for epoch, values in sorted(found.items())]
    band = [
        (epoch, min(values), max(values))
        for epoch, values in sorted(found.items())
        if len(names) > 1 and not dashed and all(map(math.isfinite, values))
    ]
    return [Series(label, drawn.color_index, points, band, dashed, drawn.faint)]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if all(map(math.isfinite, values)) else math.nan
