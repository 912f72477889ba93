"""The scores of runs over epochs: a chart for each quantity, a line for each stage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.reporting.summaries import keys_of
from ssl_seg.reporting.svg import Series, line_chart
from ssl_seg.results.score_text import score_name

_OF_TRAINING = {"val_top1": "accuracy"}  # otherwise the same without `val_`


@dataclass(frozen=True)
class Curves:
    """The scores of a command's runs over epochs.

    Attributes:
        legend: (stage, index of its color).
        charts: (quantity, SVG).
        bands: whether a stage has several seeds. training: whether a chart has scores on the training images too.
    """

    command: str
    legend: list[tuple[str, int]]
    charts: list[tuple[str, str]]
    bands: bool
    training: bool


def curves(collected: ReportData, command: str) -> Curves:
    """Draw every score of a command's runs; validation and training of one quantity are in one chart."""
    indices = collected.color_indices
    stages = sorted(collected.of(command), key=lambda stage: indices[stage.stage.name])
    keys = keys_of(run for stage in stages for run in stage.runs)
    training = {_of_training(key) for key in keys if key.startswith("val_")}
    charts, pairs = [], 0
    for key in (key for key in keys if key not in training):
        of_training = _of_training(key) if key.startswith("val_") else ""
        pairs += of_training in keys
        lines = []
        for stage in stages:
            index = indices[stage.stage.name]
            lines += _line(stage.stage.name, index, stage.runs, key)
            lines += _line(f"{stage.stage.name}, training", index, stage.runs, of_training, dashed=True)
        if chart := line_chart(lines, score_name(key)):
            charts.append((score_name(key), chart))
    legend = [(stage.label, indices[stage.stage.name]) for stage in stages]
    return Curves(command, legend, charts, any(len(stage.runs) > 1 for stage in stages), pairs > 0)


def _of_training(key: str) -> str:
    """The score on the training images of the same quantity."""
    return _OF_TRAINING.get(key, key.removeprefix("val_"))


def _line(
    name: str, index: int, runs: Sequence[ReportRun], key: str, *, dashed: bool = False
) -> list[Series]:
    """The mean over runs of a score at each epoch, between the lowest and the highest; none without a value."""
    found: dict[int, list[float]] = {}
    for run in runs:
        for line in run.scores:
            if isinstance(line.get(key), int | float) and "epoch" in line:
                found.setdefault(line["epoch"], []).append(line[key])
    if not found:
        return []
    names = [run.name for run in runs if any(key in line for line in run.scores)]
    label = names[0] if len(names) == 1 and not dashed else name
    points = [(epoch, _mean(values)) for epoch, values in sorted(found.items())]
    band = [
        (epoch, min(values), max(values))
        for epoch, values in sorted(found.items())
        if len(names) > 1 and all(map(math.isfinite, values))
    ]
    return [Series(label, index, points, [] if dashed else band, dashed)]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if all(map(math.isfinite, values)) else math.nan
