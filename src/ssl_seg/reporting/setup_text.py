"""What was trained on what: a sentence for each kind of run, from the records of the runs."""

from typing import Any

from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.results.planned_epochs import training_length

_SYNTHETIC = ("demo", "demo_masks")  # formats of images that the package makes


def setup(collected: ReportData) -> list[str]:
    """A sentence for pre-training, classification and segmentation; what runs of one kind do not share is left out."""
    found = []
    for command in collected.commands:
        runs = [run for stage in collected.of(command) for run in stage.runs if run.settings]
        if runs and (text := {"train": _pretraining, "classify": _labeled, "segment": _labeled}.get(command)):
            found.append(text(runs))
    return found


def _pretraining(runs: list[ReportRun]) -> str:
    methods, backbone = (_common(runs, key) for key in ("ssl", "backbone"))
    lengths = {training_length(run.run_toml) for run in runs}
    parts = [
        f"Pre-training without labels{f': {methods}' if methods else ''}{f' with {backbone}' if backbone else ''}",
        lengths.pop() if len(lengths) == 1 else "",
        _images(runs, "data", "images"),
    ]
    return f"{', '.join(filter(None, parts))}."


def _labeled(runs: list[ReportRun]) -> str:
    counts = {len(run.classes) for run in runs if run.classes}
    classes = counts.pop() if len(counts) == 1 else 0
    names = {"classify": "Classification", "segment": "Segmentation"}
    parts = [
        f"into {classes} class{'es' * (classes != 1)}" if classes else "",
        f"with {backbone}" if (backbone := _common(runs, "backbone")) else "",
    ]
    images = [_images(runs, "train", "training images"), _images(runs, "val", "validation images")]
    head = " ".join([names[runs[0].command], *filter(None, parts)])
    return f"{head}{': ' if any(images) else ''}{', '.join(filter(None, images))}."


def _images(runs: list[ReportRun], role: str, what: str) -> str:
    """`120 training images (office/train.csv)`."""
    records = [run.record.get(role) for run in runs]
    counts = {record.get("images") for record in records if isinstance(record, dict)}
    count = counts.pop() if len(counts) == 1 else None
    source = _common(runs, role)
    if not isinstance(count, int):
        return ""
    if str(source).partition(":")[0] in _SYNTHETIC:
        return f"{count:,} synthetic {what}"
    return f"{count:,} {what}{f' ({_short(str(source))})' if source else ''}"


def _short(source: str) -> str:
    """The end of a path: the table of the data has all of it."""
    return "/".join(source.rstrip("/").split("/")[-2:])


def _common(runs: list[ReportRun], key: str) -> Any:
    """The value of a setting, if all runs have the same."""
    values = {str(run.settings.get(key)): run.settings.get(key) for run in runs}
    return next(iter(values.values())) if len(values) == 1 else None
