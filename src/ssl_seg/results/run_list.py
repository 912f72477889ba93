"""The runs below a folder, summarised."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ssl_seg.errors import SslSegError
from ssl_seg.results.planned_epochs import epochs_of
from ssl_seg.results.scores import NAME as SCORES
from ssl_seg.results.scores import Line, load_scores
from ssl_seg.results.status import read_status
from ssl_seg.study.run_paths import NAME as STUDY
from ssl_seg.utils.toml import read_toml

PRIMARY_METRIC = {
    "classify": "val_top1",
    "segment": "val_miou",
    "train": "probe_knn",
}  # the main score of a command
RUN_FILES = ("run.toml", "status.json", SCORES)


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        folder: the run's.
        state: `finished`, `stopped`, `failed`, `running`, or `unknown` where its status cannot be read.
        command: `train`, `classify` or `segment`; empty if not recorded.
        model: what was trained: `byol resnet50`, `deeplabv3 resnet50`.
        epochs, planned: how many are done, and how many there are to be.
        score: name of its main score; empty without one.
        best, last: values of that score.
        seconds: of training, over all epochs.
        bytes: on the disk; 0 if not measured.
        modified: when its status changed last, in seconds since 1970.
        scores: one for each epoch.
    """

    folder: Path
    state: str
    command: str = ""
    model: str = ""
    epochs: int = 0
    planned: int = 0
    score: str = ""
    best: float | None = None
    last: float | None = None
    seconds: float = 0.0
    bytes: int = 0
    modified: float = 0.0
    scores: list[Line] = field(default_factory=list, repr=False)


def find_runs(folder: Path) -> Iterator[RunSummary]:
    """Every run in or below a folder, in the order of their paths; links are not followed."""
    return map(summarise, find_folders(folder)[0])


def find_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders of all runs, and of all studies, in or below a folder, in order; links are not followed."""
    runs, studies = [], []
    for path, folders, files in os.walk(folder):
        if any(name in files for name in RUN_FILES):
            runs.append(Path(path))
            folders.clear()
        elif STUDY in files:
            studies.append(Path(path))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return runs, studies


def summarise(folder: Path, *, measured: bool = True) -> RunSummary:
    """What is recorded of one run; what is missing or corrupt is left out.

    Args:
        measured: with its size on the disk, for which each of its files is looked at.
    """
    settings = _or_empty(folder, "run.toml")
    record = settings.get("record")
    command = str(record.get("command", "")) if isinstance(record, dict) else ""
    lines = load_scores(folder).lines
    score = PRIMARY_METRIC.get(command, "")
    values = [line[score] for line in lines if isfinite(line.get(score, float("nan")))]
    status = _or_empty(folder, "status.json")
    parts = (settings.get(key) for key in ("ssl", "head", "backbone"))
    return RunSummary(
        folder,
        str(status.get("state", "unknown")),
        command,
        " ".join(str(part) for part in parts if part),
        int(lines[-1]["epoch"]) if lines else 0,
        epochs_of(settings),
        score if values else "",
        max(values) if values else None,
        values[-1] if values else None,
        _seconds(lines),
        sum(_size(path) for path in folder.rglob("*")) if measured else 0,
        _modified(folder),
        lines,
    )


def _or_empty(folder: Path, name: str) -> dict[str, Any]:
    try:
        return read_status(folder) if name == "status.json" else read_toml(folder / name)
    except (OSError, ValueError, SslSegError):
        return {}


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    except OSError:  # it went away meanwhile
        return 0


def _seconds(lines: list[Line]) -> float:
    """Of training; each line counts from the start of the run."""
    seconds = float(lines[-1].get("seconds", 0.0)) if lines else 0.0
    return seconds if isfinite(seconds) else 0.0


def _modified(folder: Path) -> float:
    times = [0.0]
    for name in RUN_FILES:
        with suppress(OSError):  # it is not there, or went away meanwhile
            times.append((folder / name).stat().st_mtime)
    return max(times)
