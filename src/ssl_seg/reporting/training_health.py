"""Errors and warnings of the runs, and the outputs that a report lacks."""

import math
import shlex
from collections.abc import Iterator

from ssl_seg.reporting.figures import Figures, shown_network
from ssl_seg.reporting.records import ReportData, ReportRun, ReportStage

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


def health_notes(collected: ReportData) -> list[tuple[str, str, str]]:
    """Return (run, level, text) with the keys of `LEVELS`, errors first."""
    items = [(run.name, level, text) for run in collected.runs for level, text in _of(run)]
    return sorted(items, key=lambda note: list(LEVELS).index(note[1]))


def _of(run: ReportRun) -> Iterator[tuple[str, str]]:
    if run.state != "finished":
        yield "error", _end(run)
    for text in run.problems:
        yield "error", f"cannot read: {text}"
    for line in run.scores:
        non_finite = [
            key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)
        ]
        if non_finite:
            yield "error", f"epoch {line.get('epoch')}: {', '.join(non_finite)} is NaN or infinite"
    for text in run.warnings:
        yield "warning", text
    for role, known in run.record.items():
        if isinstance(known, dict) and known.get("skipped"):
            yield "warning", f"skipped {known['skipped']} unreadable images of {role}"
    if "spread" in run.last and "rank" in run.last:
        spread, rank = run.last["spread"], run.last["rank"]
        collapsed = spread < 0.05 or rank < 2
        text = f"embedding std {spread:.3f} (0: collapsed, 1: uniform on the sphere), rank {rank:.1f}"
        yield ("error" if collapsed else "ok"), text


def _end(run: ReportRun) -> str:
    code = run.status.get("code")
    after = f" after epoch {run.last['epoch']}" if "epoch" in run.last else ""
    if run.state == "running":
        return f"running or killed{after}"
    if isinstance(code, int) and code > 128:
        return f"{run.state}{after} by signal {code - 128}"
    reason = f", code {code} ({_MEANING.get(code, 'unknown')})" if isinstance(code, int) and code else ""
    return f"{run.state}{after}{reason}"


def missing_outputs(collected: ReportData, figures: Figures) -> list[tuple[str, str]]:
    """Return (missing item, the command that creates it)."""
    items = []
    for run in collected.runs:
        if run.state != "finished" and run.command:
            resume = f"ssl-seg {run.command} --resume --out {_quoted(run)}"
            fresh = f"ssl-seg {run.command} --config {shlex.quote(f'{run.folder}.toml')} --out {_quoted(run)}"
            started = any(run.folder.glob("checkpoints/step-*"))
            items.append((f"{run.name} (not finished)", resume if started else fresh))
    items += _maps(collected, figures)
    for command in ("classify", "segment"):
        for stage in collected.of(command):
            first = next((run for run in stage.finished if (run.folder / "confusion.csv").exists()), None)
            if first and not any((run.folder / "figures" / "confusion.svg").exists() for run in stage.runs):
                next_command = f"ssl-seg figure confusion {_quoted(first)}"
                items.append((f"confusion matrix of {stage.label}", next_command))
    masks = {row.run.folder for example in figures.mask_examples for row in example.rows}
    for stage in collected.of("segment"):
        first = _first(stage)
        if first and not any(run.folder in masks for run in stage.runs):
            items.append((f"predicted masks of {stage.label}", f"{first.repeat_command} --watch NAME,NAME"))
        if first and not any(shown_network(run).exists() for run in stage.runs):
            items.append((f"architecture of {stage.label}", f"ssl-seg figure architecture {_quoted(first)}"))
    segmented = [first for stage in collected.of("segment") if (first := _first(stage))]
    if segmented and not figures.sams:
        items.append(
            (
                "SAM comparison (optional)",
                f"ssl-seg sam {_quoted(segmented[0])} --images NAME,NAME  # requires the package ssl-seg-sam",
            )
        )
    return items


def _maps(collected: ReportData, figures: Figures) -> Iterator[tuple[str, str]]:
    if figures.maps:  # one is enough: preferably of a fine-tuned model with self-supervised weights
        return
    without_features = []
    for stage in collected.of("classify"):
        first = _first(stage)
        if first is None:
            continue
        if any(first.folder.glob("features/epoch-*.npz")):
            yield f"t-SNE of {stage.label}", f"ssl-seg figure tsne {_quoted(first)}"
        else:
            without_features.append((first, f"saved features of {stage.label} (for t-SNE)"))
    if without_features:
        trained = {str(run.folder) for stage in collected.of("train") for run in stage.runs}
        fine_tuned = [
            pair
            for pair in without_features
            if pair[0].settings.get("init") in trained and not pair[0].settings.get("freeze")
        ]
        run, what = (fine_tuned or without_features)[0]
        yield what, f"{run.repeat_command} --keep-features 2000"


def _first(stage: ReportStage) -> ReportRun | None:
    return next(iter(stage.finished), None)


def _quoted(run: ReportRun) -> str:
    return shlex.quote(str(run.folder))
