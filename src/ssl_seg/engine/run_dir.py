"""One run's folder: who holds it, what it was asked to do, what came of it."""

import copy
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Self

from ssl_seg.engine.run_settings import is_run, read_settings
from ssl_seg.errors import OutputInUseError, ResourceError, SslSegError, WeightsError
from ssl_seg.results.run_digests import remove_digests, write_digests
from ssl_seg.results.scores import load_scores, read_scores
from ssl_seg.results.status import write_status
from ssl_seg.utils.code_names import resuming
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.lock import OpenFolder, take_lock
from ssl_seg.utils.log import Lines, LogFile, log
from ssl_seg.utils.toml import read_toml, to_toml

# what commands write into a run's folder, and other commands read
RUN_FILES = (
    *("run.toml", "scores.jsonl", "status.json", "run.log", "result.json", "masks.json", "tracking.json"),
    *("digests.json", "backbone.safetensors", "model.safetensors", "best.safetensors"),
    *("confusion.csv", "val.csv", "val_predictions.csv", "val_confusions.npz"),
    *("probe_predictions.csv", "probe_untrained.csv"),
)


class Run:
    """A locked run folder. Use it as a context manager.

    Args:
        folder: is created if it does not exist.
        command: whose run it is.
        resume: go on in a folder that holds a run; otherwise the folder must be empty, but for what
            a run that ended before its first checkpoint has left there.
        main: of several processes that train together, only the main one locks and writes.

    Attributes:
        begun: whether this process trains or has trained; until then what an earlier one has written stays as
            it is.

    Raises:
        OutputInUseError: another process holds the folder, or it is not empty.
        WeightsError: `resume` and there is no run in the folder.
        ResourceError: the folder cannot be made or written.
    """

    def __init__(
        self, folder: Path, command: str = "train", *, resume: bool = False, main: bool = True
    ) -> None:
        self.folder, self.command = folder, command
        self.resume, self.main = resume, main
        self._lock: TextIOWrapper | None = None
        self._open: OpenFolder | None = None
        self.checkpoints = folder / "checkpoints"
        self.begun = False
        self._handler: logging.Handler | None = None
        self._settings: dict[str, Any] | None = None
        self._lines: list[dict[str, Any]] | None = None
        if resume and not is_run(folder):
            raise WeightsError(f"no run to resume in {folder}", next="omit --resume to start a new run")
        if not main:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(folder)
            try:
                self._prepare()
                self._open = OpenFolder(folder)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise ResourceError(f"cannot write to {folder}: {error.strerror}") from error

    def _prepare(self) -> None:
        if not self.resume:
            _check_empty(self.folder)
            (self.folder / "bad_images.csv").unlink(missing_ok=True)  # of a start before this one
        for leftover in self.folder.rglob(".*.tmp-*"):  # of a process that was killed while it wrote
            if leftover.is_file():
                leftover.unlink()
        for name in ("checkpoints", "figures"):
            (self.folder / name).mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        if not self.main:
            return self
        self._handler = LogFile(self.folder / "run.log", encoding="utf-8", delay=True)
        self._handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
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
        if self._open:
            self._open.close()
            self._open = None
        if self._lock:
            self._lock.close()  # lets go of the lock; the file stays, so nobody can lock a stale name

    @property
    def resume_command(self) -> str:
        """What to type to go on with it; code is named again, as only a person may do that."""
        config: dict[str, Any] = {}
        with suppress(SslSegError):  # not there before the first step
            config = self.settings()
        return resuming(self.command, self.folder, config)

    def check_there(self) -> None:
        """Nothing may be written into a folder that has taken the place of this one, or would be made anew.

        Raises:
            ResourceError: the run's folder was removed or moved.
        """
        if self._open:
            self._open.check()

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write `run.toml`; `ssl-seg train --config run.toml` repeats the run."""
        atomic_write_text(self.folder / "run.toml", to_toml(settings))
        self._settings = read_toml(self.folder / "run.toml")

    write_settings = write_config  # deprecated: the name in version 0.1.0

    def settings(self) -> dict[str, Any]:
        """What the run was started with: the content of `run.toml`.

        Raises:
            WeightsError: see `read_settings`.
        """
        if self._settings is None:
            self._settings = read_settings(self.folder)
        return copy.deepcopy(self._settings)

    def restore(self, scores: Sequence[Mapping[str, Any]] | None, step: int) -> None:
        """Put `run.toml` and `scores.jsonl` where a checkpoint has them, whatever became of the files.

        Args:
            scores: as `kept` gave them to the checkpoint; None, as from version 0.1.0, keeps what the file has.
            step: the lines of later steps will be measured again.
        """
        settings = self.settings()
        if not (self.folder / "run.toml").exists():
            log.warning("run.toml was missing: restored from the checkpoint of step %d", step)
            self.write_config(settings)
        found = load_scores(self.folder, resume=True)
        known = found.lines if scores is None else scores
        self._lines = [dict(line) for line in known if line["step"] <= step]
        path = self.folder / "scores.jsonl"
        if found.damage:
            aside = _free_name(self.folder / "scores.jsonl.damaged")
            os.rename(path, aside)
            what = "the corrupt lines are lost" if scores is None else "restored from the checkpoint"
            log.warning(
                "scores.jsonl: %s; %s; the original file is kept as %s", found.damage, what, aside.name
            )
        atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in self._lines))

    @property
    def is_early(self) -> bool:
        """Whether it is resumed and version 0.1.0 began it: it goes on with the network and decay it had."""
        return self.resume and "no_weight_decay" not in self.settings().get("record", {})

    def append_scores(self, scores: Mapping[str, float]) -> None:
        """Append one line to `scores.jsonl`; `epoch` and `step` are among its numbers.

        Raises:
            ResourceError: it cannot be written.
        """
        self.check_there()
        path, known = self.folder / "scores.jsonl", self.scores()
        try:
            with path.open("a") as file:
                file.write(json.dumps(scores) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError(f"cannot write {path}: {error.strerror}") from error
        self._lines = [*known, dict(scores)]

    def scores(self) -> list[dict[str, Any]]:
        """The lines of `scores.jsonl`, one for each epoch, in order."""
        return list(read_scores(self.folder) if self._lines is None else self._lines)

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the small files, so that they can be restored: `scores` and `settings`."""
        return {"scores": self.scores()} | ({"settings": self._settings} if self._settings else {})

    def set_status(self, state: str, *, step: int, code: int | None = None, checkpoint: str = "") -> None:
        """Replace `status.json`; `state` is running, finished, stopped or failed."""
        if not self.main:
            return
        self.check_there()
        if state == "running" and not self.begun:
            remove_digests(self.folder)
        elif state == "finished":
            write_digests(self.folder)
        self.begun = self.begun or state == "running"
        status = {"state": state, "step": step, "code": code, "checkpoint": checkpoint}
        write_status(self.folder, status)


def _free_name(path: Path) -> Path:
    """The path, or with a number if there is something."""
    names = [path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000))]
    return next(name for name in names if not name.exists())


def _check_empty(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    if all(_is_unstarted_run_file(folder / name) for name in names):
        return
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    resume = "--resume to continue it, or " if "run.toml" in names else ""
    way = f"{resume}--out OTHER_FOLDER"
    raise OutputInUseError(f"{folder} is not empty", where=shown, next=way)


def _is_unstarted_run_file(path: Path) -> bool:
    """Whether this is all that a run leaves which ends before its first checkpoint."""
    if path.name in ("figures", "checkpoints"):
        return not any(child.name.startswith("step-") for child in path.iterdir())
    own = ("run.toml", "run.log", "status.json", "masks.json", "bad_images.csv", "probe_untrained.csv")
    return path.name in own or re.fullmatch(r"\..+\.tmp-[\w-]+", path.name) is not None
