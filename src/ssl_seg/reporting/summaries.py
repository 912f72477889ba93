"""Tables and sentences of a report, made from what runs have left."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ssl_seg.figures.curves import UNDRAWN
from ssl_seg.reporting.records import Facts, RunFacts, StageFacts
from ssl_seg.results.tables import LEVEL, Table, mean_sd, spread

# (prefix in result.json, what it is, what stands below the classes)
PARTS = {
    "classify": ("top1/", "top-1", ("top1", "top5", "mean_class")),
    "segment": ("iou/", "IoU", ("miou", "fw_iou", "pixel_accuracy")),
}
MEANING = {
    "val_top1": "top-1 accuracy on the validation images",
    "val_top5": "top-5 accuracy on the validation images",
    "val_miou": "mean over classes of the IoU, from pixel counts summed over all validation images",
    "probe_knn": "k-NN accuracy of the features on labeled images",
}


@dataclass(frozen=True)
class Cell:
    """A number as it is shown, and as it was written.

    Attributes:
        text: rounded; `n/a` where there is none.
        value: in full.
        source: the file and the key it comes from.
    """

    text: str
    value: float | None = None
    source: str = ""


@dataclass(frozen=True)
class ClassTable:
    """One line per class, then the means; one column per stage.

    Attributes:
        head: the stages' labels.
        lines: (name, pixels or images if they are known, cells). means: likewise.
        what: the score.
    """

    what: str
    head: list[str]
    lines: list[tuple[str, Cell, list[Cell]]]
    means: list[tuple[str, list[Cell]]]


def class_table(facts: Facts, command: str) -> ClassTable | None:
    """The last epoch's score of each class; None if no finished run of the command tells it."""
    prefix, what, means = PARTS[command]
    stages = [stage for stage in facts.of(command) if any(_last(run) for run in stage.finished)]
    names: dict[str, None] = {}
    for stage in stages:
        for run in stage.finished:
            names |= dict.fromkeys(run.classes)
            # a class that is neither there nor predicted has no IoU, and still has pixels: none
            keys = [key for key in _last(run) if key.startswith((prefix, "support/"))]
            names |= dict.fromkeys(key.partition("/")[2] for key in keys)
    if not names:
        return None
    lines = [
        (name, _support(stages, name), [_cell(stage, f"{prefix}{name}") for stage in stages])
        for name in names
    ]
    below = [(name, [_cell(stage, name) for stage in stages]) for name in means]
    return ClassTable(what, [stage.label for stage in stages], lines, below)


def _last(run: RunFacts) -> dict[str, Any]:
    last = run.result.get("last")
    return last if isinstance(last, dict) else {}


def _cell(stage: StageFacts, key: str) -> Cell:
    """Mean ± deviation over the seeds of a stage."""
    known = {run.name: value for run in stage.finished if (value := _number(_last(run).get(key))) is not None}
    mean, _ = mean_sd(known.values())
    each = "; ".join(f"{name}: {value:.4f}" for name, value in known.items())
    return (
        Cell(spread(known.values()), mean, f"last.{key} in result.json of {each}") if known else Cell("n/a")
    )


def _support(stages: Sequence[StageFacts], name: str) -> Cell:
    for stage in stages:
        for run in stage.finished:
            value = _number(_last(run).get(f"support/{name}"))
            if value is not None:
                return Cell(f"{value:,.0f}", value, f"{run.folder.name}/result.json: last.support/{name}")
    return Cell("n/a")


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if good else None


def number(run: RunFacts, key: str, digits: int = 4) -> Cell:
    """A number of a run's newest line of scores."""
    value = _number(run.last.get(key))
    if value is None:
        return Cell("n/a")
    return Cell(
        f"{value:.{digits}f}", value, f"{run.folder.name}/scores.jsonl, epoch {run.last['epoch']}: {key}"
    )


def best(run: RunFacts, key: str) -> Cell:
    """The highest number of a run's scores."""
    known = [(value, line) for line in run.scores if (value := _number(line.get(key))) is not None]
    if not known:
        return Cell("n/a")
    value, line = max(known, key=lambda pair: pair[0])
    return Cell(
        f"{value:.4f}", value, f"{run.folder.name}/scores.jsonl, epoch {line['epoch']}: {key} (maximum)"
    )


def duration(run: RunFacts) -> Cell:
    """How long a run has trained."""
    value = _number(run.last.get("seconds"))
    if value is None:
        return Cell("n/a")
    text = str(timedelta(seconds=round(value)))
    return Cell(text, value, f"{run.folder.name}/scores.jsonl, epoch {run.last['epoch']}: seconds")


def energy(run: RunFacts) -> Cell:
    """What a run has used, if its scores tell it."""
    found = number(run, "energy_wh", 1)
    return Cell(f"{found.text} Wh", found.value, found.source) if found.value is not None else found


def keys_of(runs: Iterable[RunFacts]) -> list[str]:
    """The scores worth a curve, loss first."""
    found = dict.fromkeys(key for run in runs for line in run.scores for key in line)
    keys = [key for key in found if key not in UNDRAWN]
    return sorted(keys, key=lambda key: (key != "loss", not key.startswith(("val_", "probe_"))))


def answer(table: Table) -> str:
    """What a table says, in a sentence or two."""
    rows = sorted(
        (row for row in table.rows if row.last), key=lambda row: -(mean_sd(row.last.values())[0] or 0)
    )
    if not rows:
        return f"No run has {table.score} yet."
    first = rows[0]
    mean = spread(first.last.values())
    if len(rows) == 1:
        return f"{first.label} has {table.score} {mean}."
    groups: dict[str, list[str]] = {words: [] for words in _WORDS}
    for row in rows[1:]:
        groups[_verdict(table, first.name, row.name)].append(row.name)
    verdicts = [words.format(_listed(names)) for words, names in groups.items() if names]
    text = f"{first.label} has the highest {table.score}: {mean} ({len(rows)} stages)."
    return " ".join([text, *verdicts])


_WORDS = (
    "Significant against {} (p < 0.05, Holm-corrected).",
    "Not significant against {}.",
    "Over the shared seeds, {} is higher.",
    "Not tested against {}.",
)


def _verdict(table: Table, first: str, other: str) -> str:
    """Which of `_WORDS` holds; the highest mean over its own seeds may be lower over those of a pair."""
    sure, within, lower, untested = _WORDS
    for (one, two), pair in zip(_names(table), table.pairs, strict=True):
        if {one, two} != {first, other} or first == other or pair.p is None:
            continue
        ahead = (mean_sd(pair.differences.values())[0] or 0.0) * (1 if one == first else -1)
        return within if pair.p >= LEVEL else sure if ahead > 0 else lower
    return untested


def _names(table: Table) -> list[tuple[str, str]]:
    names = [row.name for row in table.rows]
    return [(one, two) for place, one in enumerate(names) for two in names[place + 1 :]]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
