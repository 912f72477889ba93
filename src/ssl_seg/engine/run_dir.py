"""One run's folder: who holds it, what it was asked to do, what came of it."""

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Self

from ssl_seg.errors import OccupiedError, ResourceError, WeightsError
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.lock import take_lock
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_json_lines, read_toml, to_toml

# what commands write into a run's folder, and other commands read
RUN_FILES = (
    *("run.toml", "scores.jsonl", "status.json", "run.log", "result.json", "masks.json", "tracking.json"),
    *("backbone.safetensors", "model.safetensors", "best.safetensors"),
    *("confusion.csv", "val_predictions.csv", "val_confusions.npz"),
)


class Run:
    """A locked run folder. Use it as a context manager.

    Args:
        folder: is created if it does not exist.
        command: whose run it is.
        resume: go on in a folder that holds a run; otherwise the folder must be empty, but for what
            a run that ended before its first checkpoint has left there.
        main: of several processes that train together, only the main one locks and writes.

    Raises:
        OccupiedError: another process holds the folder, or it is not empty.
        WeightsError: `resume` and there is no run in the folder.
        ResourceError: the folder cannot be made or written.
    """

    def __init__(
        self, folder: Path, command: str = "train", *, resume: bool = False, main: bool = True
    ) -> None:
        self.folder, self.command = folder, command
        self.resume, self.main = resume, main
        self._lock: TextIOWrapper | None = None
        self.checkpoints = folder / "checkpoints"
        self._handler: logging.Handler | None = None
        if resume and not (folder / "run.toml").exists():
            raise WeightsError(f"no run to resume in {folder}", next="leave out --resume to start one")
        if not main:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(folder)
            try:
                self._prepare()
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise ResourceError(f"cannot write to {folder}: {error.strerror}") from error

    def _prepare(self) -> None:
        if not self.resume:
            _refuse_if_filled(self.folder)
        for leftover in self.folder.glob(".*.tmp-*"):
            leftover.unlink()
        for name in ("checkpoints", "figures"):
            (self.folder / name).mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        if not self.main:
            return self
        self._handler = _LogFile(self.folder / "run.log", encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(self._handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler:
            log.propagate = True
            log.removeHandler(self._handler)
            with suppress(OSError):  # a full disk has been told of already
                self._handler.close()
        if self._lock:
            self._lock.close()  # lets go of the lock; the file stays, so nobody can lock a stale name

    @property
    def again(self) -> str:
        """What to type to go on with it."""
        return f"ssl-seg {self.command} --resume --out {self.folder}"

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write `run.toml`; `ssl-seg train --config run.toml` repeats the run."""
        replace_text(self.folder / "run.toml", to_toml(settings))

    def settings(self) -> dict[str, Any]:
        """What `run.toml` holds."""
        return read_toml(self.folder / "run.toml")

    def add_scores(self, scores: Mapping[str, float]) -> None:
        """Append one line to `scores.jsonl`.

        Raises:
            ResourceError: it cannot be written.
        """
        path = self.folder / "scores.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(scores) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write {path}: {error.strerror}") from error

    def scores(self) -> list[dict[str, float]]:
        """All lines of `scores.jsonl`.

        Raises:
            WeightsError: it is damaged.
        """
        path = self.folder / "scores.jsonl"
        try:
            return read_json_lines(path)
        except ValueError as error:
            way = f"mend or remove that line, then {self.again}"
            raise WeightsError(f"scores.jsonl is damaged: {error}", where=str(path), next=way) from error

    def forget_scores_after(self, step: int) -> None:
        """Drop the lines of steps that will be done again."""
        kept = [json.dumps(line) for line in self.scores() if line["step"] <= step]
        replace_text(self.folder / "scores.jsonl", "".join(line + "\n" for line in kept))

    def set_status(self, state: str, *, step: int, code: int | None = None, checkpoint: str = "") -> None:
        """Replace `status.json`; `state` is running, finished, stopped or failed."""
        if not self.main:
            return
        status = {"state": state, "step": step, "code": code, "checkpoint": checkpoint}
        replace_text(self.folder / "status.json", json.dumps(status) + "\n")


class _LogFile(logging.FileHandler):
    """A log that cannot be written must neither end a run nor fill the terminal with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Let it pass."""


def _refuse_if_filled(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    if all(_is_of_a_start(folder / name) for name in names):
        return
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    resume = "--resume to go on with the run in it, or " if "run.toml" in names else ""
    way = f"{resume}--out OTHER_FOLDER to start another"
    raise OccupiedError(f"{folder} is not empty", where=shown, next=way)


def _is_of_a_start(path: Path) -> bool:
    """Whether this is all that a run leaves which ends before its first checkpoint."""
    if path.name in ("figures", "checkpoints"):
        return not any(child.name.startswith("step-") for child in path.iterdir())
    own = ("run.toml", "run.log", "status.json")
    return path.name in own or re.fullmatch(r"\..+\.tmp-[\w-]+", path.name) is not None
