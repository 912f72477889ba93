"""The runs below a folder, read again as their files change: for the live page."""

import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ssl_seg.errors import DataError
from ssl_seg.results.run_list import RUN_FILES, RunSummary, find_folders, summarise
from ssl_seg.results.scores import NAME as SCORES
from ssl_seg.study.run_paths import NAME as STUDY
from ssl_seg.study.run_paths import runs_of_study

NOT_STARTED = "not started"
_PACE_EPOCHS = 10  # the latest epochs, of which the time to the end is estimated
_SILENT_SECONDS, _SILENT_EPOCHS = 600, 5  # a running run that writes nothing for longer may be gone

Stamps = tuple[tuple[int, int], ...]  # (time of the last change in ns, bytes) of each file; (0, 0) without it


@dataclass(frozen=True)
class LiveRun:
    """One run.

    Attributes:
        name: path below the watched folder; of a study's run `STUDY@STAGE:SEED`.
        group: runs of one group share a color: the seeds of a stage.
        summary: what its files say.
        remaining: seconds to the planned end; None if unknown.
        silent: seconds since a running run has written anything, if that is longer than it should be; else 0.
        stamps: change when its files do.
    """

    name: str
    group: str
    summary: RunSummary
    remaining: float | None = None
    silent: float = 0.0
    stamps: Stamps = ()


@dataclass
class _Known:
    """What was read of a run, and (epochs, time) of its changes since it is watched."""

    stamps: Stamps
    summary: RunSummary
    pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_PACE_EPOCHS))


class LiveRuns:
    """The runs in and below a folder.

    Args:
        root: the folder; it may be a run or a study itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[Path, _Known] = {}
        self._studies: dict[Path, tuple[Stamps, dict[str, dict[str, Path]]]] = {}

    def read(self) -> list[LiveRun]:
        """Every run, those that changed last first; only changed files are read."""
        folders, studies = find_folders(self.root)
        names = self._names_in_studies(studies)
        present = dict.fromkeys([*folders, *names])
        self._known = {folder: self._read(folder) for folder in present}
        now = time.time()
        found = [self._live(folder, known, names, now) for folder, known in self._known.items()]
        return sorted(found, key=lambda run: (-run.summary.modified, run.name))

    def _read(self, folder: Path) -> _Known:
        stamps = _stamps(folder, RUN_FILES)
        known = self._known.get(folder)
        if known and known.stamps == stamps:
            return known
        summary = summarise(folder, measured=False)
        if not any(modified for modified, _ in stamps):
            summary = RunSummary(folder, NOT_STARTED)
        pace = known.pace if known and known.summary.epochs <= summary.epochs else _Known((), summary).pace
        written = stamps[RUN_FILES.index(SCORES)][0] / 1e9
        if summary.epochs and (not pace or pace[-1][0] < summary.epochs):
            pace.append((summary.epochs, written))
        return _Known(stamps, summary, pace)

    def _live(
        self, folder: Path, known: _Known, names: Mapping[Path, tuple[str, str]], now: float
    ) -> LiveRun:
        path = os.path.relpath(folder, self.root)
        name, group = names.get(folder) or (folder.name if path == "." else path,) * 2
        summary = known.summary
        if summary.state != "running":
            return LiveRun(name, group, summary, stamps=known.stamps)
        per_epoch = _epoch_seconds(known)
        since = max(0.0, now - max(modified for modified, _ in known.stamps) / 1e9)
        remaining = None
        if per_epoch is not None and summary.planned >= summary.epochs:
            remaining = max(0.0, per_epoch * (summary.planned - summary.epochs) - since)
        silent = since if since > max(_SILENT_SECONDS, _SILENT_EPOCHS * (per_epoch or 0.0)) else 0.0
        return LiveRun(name, group, summary, None if silent else remaining, silent, known.stamps)

    def _names_in_studies(self, studies: list[Path]) -> dict[Path, tuple[str, str]]:
        """Folder -> (name, group) of the runs of studies, those that have not started included."""
        found: dict[Path, tuple[str, str]] = {}
        read = {}
        for study in studies:
            stamps = _stamps(study, (STUDY,))
            known = self._studies.get(study)
            if not known or known[0] != stamps:
                stages: dict[str, dict[str, Path]] = {}
                with suppress(DataError):  # its runs are listed by their folders then
                    stages = runs_of_study(study)
                known = (stamps, stages)
            read[study] = known
            path = os.path.relpath(study, self.root)
            head = "" if path == "." else f"{path}@"
            for stage, seeds in known[1].items():
                for seed, folder in seeds.items():
                    found.setdefault(folder, (f"{head}{stage}:{seed}", f"{head}{stage}"))
        self._studies = read
        return found


def _stamps(folder: Path, names: tuple[str, ...]) -> Stamps:
    found = []
    for name in names:
        try:
            info = (folder / name).stat()
            found.append((info.st_mtime_ns, info.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _epoch_seconds(known: _Known) -> float | None:
    """Seconds per epoch: of those seen to end, validation included; else of the latest, training alone."""
    pace, lines = known.pace, known.summary.scores
    if len(pace) > 1 and pace[-1][1] > pace[0][1]:
        return (pace[-1][1] - pace[0][1]) / (pace[-1][0] - pace[0][0])
    latest = [
        (float(line["epoch"]), float(line["seconds"])) for line in lines[-_PACE_EPOCHS:] if "seconds" in line
    ]
    first = latest[0] if len(latest) > 1 else (0.0, 0.0)
    if not latest or latest[-1][0] <= first[0] or not 0 <= latest[-1][1] - first[1] < 1e9:
        return None
    return (latest[-1][1] - first[1]) / (latest[-1][0] - first[0])
