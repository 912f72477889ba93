"""Errors and warnings of the runs, and the outputs that a report lacks."""

import math
import shlex
from collections.abc import Iterator

from ssl_seg.reporting.figures import Figures, shown_network
from ssl_seg.reporting.records import Facts, RunFacts, StageFacts

LEVELS = {"error": "Error", "warning": "Warning", "ok": "OK"}
_MEANING = {
    1: "internal error",
    2: "command line or configuration",
    3: "images or labels",
    4: "checkpoint or weights",
    5: "training health: NaN or collapse",
    6: "disk, memory or permission",
    7: "plugin",
    8: "another process failed",
    9: "output folder in use",
}


def notes(facts: Facts) -> list[tuple[str, str, str]]:
    """Return (run, level, text) with the keys of `LEVELS`, errors first."""
    found = [(run.name, level, text) for run in facts.runs for level, text in _of(run)]
    return sorted(found, key=lambda note: list(LEVELS).index(note[1]))


def _of(run: RunFacts) -> Iterator[tuple[str, str]]:
    if run.state != "finished":
        yield "error", _end(run)
    for text in run.troubles:
        yield "error", f"cannot read: {text}"
    for line in run.scores:
        odd = [key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
        if odd:
            yield "error", f"epoch {line.get('epoch')}: {', '.join(odd)} is NaN or infinite"
    for text in run.warnings:
        yield "warning", text
    for role, known in run.record.items():
        if isinstance(known, dict) and known.get("skipped"):
            yield "warning", f"skipped {known['skipped']} unreadable images of {role}"
    if "spread" in run.last and "rank" in run.last:
        spread, rank = run.last["spread"], run.last["rank"]
        fallen = spread < 0.05 or rank < 2
        text = f"embedding std {spread:.3f} (0: collapsed, 1: uniform on the sphere), rank {rank:.1f}"
        yield ("error" if fallen else "ok"), text


def _end(run: RunFacts) -> str:
    code = run.status.get("code")
    after = f" after epoch {run.last['epoch']}" if "epoch" in run.last else ""
    if run.state == "running":
        return f"running or killed{after}"
    if isinstance(code, int) and code > 128:
        return f"{run.state}{after} by signal {code - 128}"
    why = f", code {code} ({_MEANING.get(code, 'unknown')})" if isinstance(code, int) and code else ""
    return f"{run.state}{after}{why}"


def missing(facts: Facts, figures: Figures) -> list[tuple[str, str]]:
    """Return (missing item, the command that creates it)."""
    found = []
    for run in facts.runs:
        if run.state != "finished" and run.command:
            resume = f"ssl-seg {run.command} --resume --out {_quoted(run)}"
            fresh = f"ssl-seg {run.command} --config {shlex.quote(f'{run.folder}.toml')} --out {_quoted(run)}"
            begun = any(run.folder.glob("checkpoints/step-*"))
            found.append((f"{run.name} (not finished)", resume if begun else fresh))
    found += _maps(facts, figures)
    masks = {strip.run.folder for watched in figures.watched for strip in watched.strips}
    for stage in facts.of("segment"):
        first = _first(stage)
        if first and not any(run.folder in masks for run in stage.runs):
            found.append((f"predicted masks of {stage.label}", f"{first.again} --watch NAME,NAME"))
        if first and not any(shown_network(run).exists() for run in stage.runs):
            found.append((f"architecture of {stage.label}", f"ssl-seg figure architecture {_quoted(first)}"))
    segmented = [first for stage in facts.of("segment") if (first := _first(stage))]
    if segmented and not figures.sams:
        found.append(
            (
                "SAM comparison",
                f"ssl-seg sam {_quoted(segmented[0])} --images NAME,NAME  # requires the package ssl-seg-sam",
            )
        )
    return found


def _maps(facts: Facts, figures: Figures) -> Iterator[tuple[str, str]]:
    if figures.maps:  # one is enough: preferably of a fine-tuned model with self-supervised weights
        return
    bare = []
    for stage in facts.of("classify"):
        first = _first(stage)
        if first is None:
            continue
        if any(first.folder.glob("features/epoch-*.npz")):
            yield f"t-SNE of {stage.label}", f"ssl-seg figure tsne {_quoted(first)}"
        else:
            bare.append((first, f"saved features of {stage.label} (for t-SNE)"))
    if bare:
        trained = {str(run.folder) for stage in facts.of("train") for run in stage.runs}
        wanted = [
            pair
            for pair in bare
            if pair[0].settings.get("init") in trained and not pair[0].settings.get("freeze")
        ]
        run, what = (wanted or bare)[0]
        yield what, f"{run.again} --keep-features 2000"


def _first(stage: StageFacts) -> RunFacts | None:
    return next(iter(stage.finished), None)


def _quoted(run: RunFacts) -> str:
    return shlex.quote(str(run.folder))
