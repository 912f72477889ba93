"""The runs below a folder, summarised."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_seg.errors import SslSegError
from ssl_seg.results.scores import load_scores
from ssl_seg.results.status import read_status
from ssl_seg.utils.toml import read_toml

PRIMARY_METRIC = {
    "classify": "val_top1",
    "segment": "val_miou",
    "train": "probe_knn",
}  # the main score of a command
_FILES = ("run.toml", "status.json")


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
        bytes: on the disk.
        modified: when its status changed last, in seconds since 1970.
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


def find_runs(folder: Path) -> Iterator[RunSummary]:
    """Every run in or below a folder, in the order of their paths; links are not followed."""
    for path, folders, files in os.walk(folder):
        folders.sort()
        if any(name in files for name in _FILES):
            folders.clear()
            yield summarise(Path(path))
        folders[:] = [name for name in folders if not name.startswith(".")]


def summarise(folder: Path) -> RunSummary:
    """What is recorded of one run; what is missing or corrupt is left out."""
    settings = _or_empty(folder, "run.toml")
    record = settings.get("record")
    command = str(record.get("command", "")) if isinstance(record, dict) else ""
    lines = load_scores(folder).lines
    score = PRIMARY_METRIC.get(command, "")
    values = [line[score] for line in lines if score in line]
    status = _or_empty(folder, "status.json")
    parts = (settings.get(key) for key in ("ssl", "head", "backbone"))
    return RunSummary(
        folder,
        str(status.get("state", "unknown")),
        command,
        " ".join(str(part) for part in parts if part),
        int(lines[-1]["epoch"]) if lines else 0,
        settings["epochs"] if isinstance(settings.get("epochs"), int) else 0,
        score if values else "",
        max(values) if values else None,
        values[-1] if values else None,
        lines[-1].get("seconds", 0.0) if lines else 0.0,  # each line counts from the start of the run
        sum(_size(path) for path in folder.rglob("*")),
        _modified(folder),
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


def _modified(folder: Path) -> float:
    times = [(folder / name).stat().st_mtime for name in _FILES if (folder / name).exists()]
    return max(times, default=0.0)
