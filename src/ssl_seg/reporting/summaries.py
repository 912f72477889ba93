"""Tables and summary sentences of a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ssl_seg.reporting.records import ReportData, ReportRun, ReportStage
from ssl_seg.results.score_text import format_mean_sd, mean_sd, score_digits, score_name
from ssl_seg.results.tables import ALPHA, Table

# (prefix in result.json, name of the score, scores below the classes)
PER_CLASS_SCORES = {
    "classify": ("top1/", "Top-1 accuracy", ("top1", "top5", "mean_class")),
    "segment": ("iou/", "IoU", ("miou", "fw_iou", "pixel_accuracy")),
}
SCORE_DESCRIPTIONS = {
    "val_top1": "share of the validation images whose most probable class is theirs",
    "val_miou": "mean over classes of the IoU, from pixel counts summed over all validation images",
    "probe_knn": "share of labeled images whose nearest neighbors in feature space are of their class",
}


@dataclass(frozen=True)
class Cell:
    """A score as shown, and as recorded.

    Attributes:
        text: rounded; `n/a` without a value.
        value: unrounded.
        source: file and key.
    """

    text: str
    value: float | None = None
    source: str = ""


Row = list["str | Cell"]  # of a table


def texts(row: Row) -> list[str]:
    """A row as text."""
    return [cell if isinstance(cell, str) else cell.text for cell in row]


@dataclass(frozen=True)
class ClassTable:
    """One row per class, then the means; one column per stage.

    Attributes:
        what: the score.
        head: labels of the stages.
        lines: (name, number of pixels or images, cells). means: (name, cells).
    """

    what: str
    head: list[str]
    lines: list[tuple[str, Cell, list[Cell]]]
    means: list[tuple[str, list[Cell]]]

    def grid(self) -> tuple[list[str], list[Row], list[Row]]:
        """The head, the rows of the classes, and those of the means; with the number of pixels if it is known."""
        known = any(support.value is not None for _, support, _ in self.lines)
        lines: list[Row] = [[name, *([support] if known else []), *row] for name, support, row in self.lines]
        means: list[Row] = [[name, *([""] if known else []), *row] for name, row in self.means]
        return ["class", *(["pixels"] if known else []), *self.head], lines, means

    def rows(self) -> list[list[str]]:
        """The table as text, the head first."""
        head, lines, means = self.grid()
        return [head, *map(texts, [*lines, *means])]


def format_class_table(collected: ReportData, command: str) -> ClassTable | None:
    """Return the last epoch's score of each class; None if no finished run of the command has any."""
    prefix, what, means = PER_CLASS_SCORES[command]
    stages = [stage for stage in collected.of(command) if any(_last(run) for run in stage.finished)]
    names: dict[str, None] = {}
    for stage in stages:
        for run in stage.finished:
            names |= dict.fromkeys(run.classes)
            # a class absent from targets and predictions has no IoU, but a support of 0 pixels
            keys = [key for key in _last(run) if key.startswith((prefix, "support/"))]
            names |= dict.fromkeys(key.partition("/")[2] for key in keys)
    if not names:
        return None
    counts = [run.result.get("images") for stage in stages for run in stage.finished]
    images = max((count for count in counts if isinstance(count, int)), default=0)
    digits = score_digits(images // len(names) if command == "classify" else images)
    lines = [
        (name, _support(stages, name), [_cell(stage, f"{prefix}{name}", digits) for stage in stages])
        for name in names
    ]
    below = [
        (score_name(name), [_cell(stage, name, score_digits(images)) for stage in stages]) for name in means
    ]
    return ClassTable(what, [stage.label for stage in stages], lines, below)


def _last(run: ReportRun) -> dict[str, Any]:
    last = run.result.get("last")
    return last if isinstance(last, dict) else {}


def _cell(stage: ReportStage, key: str, digits: int) -> Cell:
    """Return mean ± standard deviation over the seeds of a stage."""
    known = {run.name: value for run in stage.finished if (value := number(_last(run).get(key))) is not None}
    mean, _ = mean_sd(known.values())
    each = "; ".join(f"{name}: {value:.4f}" for name, value in known.items())
    return (
        Cell(format_mean_sd(known.values(), digits), mean, f"last.{key} in result.json of {each}")
        if known
        else Cell("n/a")
    )


def _support(stages: Sequence[ReportStage], name: str) -> Cell:
    for stage in stages:
        for run in stage.finished:
            value = number(_last(run).get(f"support/{name}"))
            if value is not None:
                return Cell(f"{value:,.0f}", value, f"{run.folder.name}/result.json: last.support/{name}")
    return Cell("n/a")


def number(value: Any) -> float | None:
    """Return a finite number as it is, None for anything else."""
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if valid else None


def score_cell(run: ReportRun, key: str, digits: int | None = None) -> Cell:
    """Return a score of the latest epoch of a run, with as many decimals as its images allow."""
    value = number(run.last.get(key))
    if value is None:
        return Cell("n/a")
    return Cell(
        f"{value:.{run.digits if digits is None else digits}f}",
        value,
        f"{run.folder.name}/scores.jsonl, epoch {run.last['epoch']}: {key}",
    )


def best_cell(run: ReportRun, key: str) -> Cell:
    """Return the highest value of a score over the epochs of a run."""
    known = [(value, line) for line in run.scores if (value := number(line.get(key))) is not None]
    if not known:
        return Cell("n/a")
    value, line = max(known, key=lambda pair: pair[0])
    return Cell(
        f"{value:.{run.digits}f}",
        value,
        f"{run.folder.name}/scores.jsonl, epoch {line['epoch']}: {key} (maximum)",
    )


def describe_duration(run: ReportRun) -> Cell:
    """Return the training time of a run."""
    value = number(run.last.get("seconds"))
    if value is None:
        return Cell("n/a")
    text = str(timedelta(seconds=round(value)))
    return Cell(text, value, f"{run.folder.name}/scores.jsonl, epoch {run.last['epoch']}: seconds")


def energy(run: ReportRun) -> Cell:
    """Return the energy of a run, if its scores have it."""
    found = score_cell(run, "energy_wh", 1)
    return Cell(f"{found.text} Wh", found.value, found.source) if found.value is not None else found


def summarize(table: Table) -> str:
    """Return one or two sentences that summarize a table."""
    rows = sorted(
        (row for row in table.rows if row.last), key=lambda row: -(mean_sd(row.last.values())[0] or 0)
    )
    if not rows:
        return f"No run has a {score_name(table.score)} yet."
    first = rows[0]
    name, mean = score_name(table.score), format_mean_sd(first.last.values(), table.digits)
    if len(rows) == 1:
        interval = first.interval
        ends = " to ".join(f"{end:.{table.digits}f}" for end in interval) if interval else ""
        sure = f" (95% confidence interval {ends}, {len(first.images)} validation images)" if ends else ""
        return f"{first.label} has a {name} of {mean}{sure}."
    groups: dict[str, list[str]] = {words: [] for words in _WORDS}
    for row in rows[1:]:
        groups[_verdict(table, first.name, row.name)].append(row.name)
    verdicts = [words.format(_listed(names)) for words, names in groups.items() if names]
    text = f"{first.label} has the highest {name}: {mean} ({len(rows)} stages)."
    return " ".join([text, *verdicts])


_WORDS = (
    "Significant against {} (p < 0.05, Holm-corrected).",
    "Not significant against {}.",
    "Over the shared seeds, {} is higher.",
    "Not tested against {}.",
)


def _verdict(table: Table, first: str, other: str) -> str:
    """Return which of `_WORDS` holds; the highest mean over its own seeds may be lower over shared seeds."""
    sure, within, lower, untested = _WORDS
    for pair in table.pairs:
        if set(pair.names) != {first, other} or first == other or pair.p is None:
            continue
        ahead = (mean_sd(pair.differences.values())[0] or 0.0) * (1 if pair.names[0] == first else -1)
        return within if pair.p >= ALPHA else sure if ahead > 0 else lower
    return untested


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
