"""Points in a command at which a fault can come, by name."""

import importlib
import os
import shutil
from collections.abc import Callable
from typing import Any

# name -> what is called there, a part of its path, and whether the fault comes before or after it
POINTS = {
    "while images are read": ("ssl_seg.data.cache_builder._write_arrays", "", "before"),
    "before a file is opened": ("ssl_seg.weights.checkpoint._write", "model", "before"),
    "before a file is synced": ("os.fsync", "optimizer.safetensors", "before"),
    "after a file is synced": ("os.fsync", "optimizer.safetensors", "after"),
    "before the rename": ("os.replace", "/step-", "before"),
    "after the rename": ("os.replace", "/step-", "after"),
    "before the oldest goes": ("os.rename", "/.trash-", "before"),
    "while the oldest goes": ("os.rename", "/.trash-", "after"),
    "before the target moves": ("ssl_seg.methods.byol.BYOL.after_step", "", "before"),
    "after the target has moved": ("ssl_seg.methods.byol.BYOL.after_step", "", "after"),
    "in the probe": ("ssl_seg.workflows.knn_probe.extract_features", "", "before"),
    "in the untrained probe": ("os.replace", "probe_untrained.csv", "before"),
    "in the probe's predictions": ("os.replace", "probe_predictions.csv", "before"),
    "before the scores": ("ssl_seg.engine.run_dir.Run.append_scores", "", "before"),
    "after the scores": ("ssl_seg.engine.run_dir.Run.append_scores", "", "after"),
    "in the status": ("os.replace", "status.json", "before"),
    "in run.toml": ("os.replace", "run.toml", "before"),
    "before the first step": ("ssl_seg.workflows.session.Session.save_view_sheet", "", "before"),
    "in the backbone file": ("os.replace", "backbone.safetensors", "before"),
}
# of classify and segment besides
SUPERVISED = {
    "before a step": ("ssl_seg.engine.schedule.set_lr", "", "before"),
    "in the look": ("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "before"),
    "after the look": ("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "after"),
    "before the best model": ("os.replace", "best.safetensors", "before"),
    "after the best model": ("os.replace", "best.safetensors", "after"),
    "in the model file": ("os.replace", "/model.safetensors", "before"),
    "in the result": ("os.replace", "result.json", "before"),
    "after the result": ("os.replace", "result.json", "after"),
    "in the confusion matrix": ("os.replace", "confusion.csv", "before"),
}
CLASSIFY = {
    "in the features": ("os.replace", "features/epoch-", "before"),
    "in the thumbnails": ("os.replace", "thumbnails.jpg", "before"),
    "in the predictions": ("os.replace", "val_predictions.csv", "before"),
}
SEGMENT = {
    "in a mask": ("os.replace", "masks/epoch-", "before"),
    "in masks.json": ("os.replace", "masks.json", "before"),
    "in the confusions": ("os.replace", "val_confusions.npz", "before"),
}
_OF_TRAIN = {name for name in POINTS if "target" in name or "probe" in name or "first step" in name}
_COMMON = [name for name in POINTS if name not in _OF_TRAIN]
POINTS_OF = {
    "train": list(POINTS),
    "classify": [*_COMMON, *SUPERVISED, *CLASSIFY],
    "frozen": [*_COMMON, *SUPERVISED, *CLASSIFY],
    "segment": [*_COMMON, *SUPERVISED, *SEGMENT],
}
ALL = POINTS | SUPERVISED | CLASSIFY | SEGMENT


def owner_of(path: str) -> tuple[Any, str]:
    """The module or class that a dotted path names something in, and the name."""
    module, _, name = path.rpartition(".")
    try:
        return importlib.import_module(module), name
    except ModuleNotFoundError:
        module, _, class_ = module.rpartition(".")
        return getattr(importlib.import_module(module), class_), name


def strike(point: str, hit: int, number: int) -> None:
    """Send this process a signal at the `hit`-th time that it comes to a point."""
    strike_at(*ALL[point], hit, number)


def strike_at(path: str, part: str, moment: str, hit: int, number: int) -> None:
    """As `strike`, at a point that has no name; see `POINTS`."""
    _act_at(path, part, moment, hit, lambda: os.kill(os.getpid(), number))


def _remove(folder: str) -> None:
    """Out of the way first: a thread of the run may be writing there."""
    aside = f"{folder}.removed"
    os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_at(folder: str, path: str, part: str, moment: str, hit: int) -> None:
    """Remove a folder at the `hit`-th time that this process comes to a point, as somebody else might."""
    _act_at(path, part, moment, hit, lambda: _remove(folder))


def move_at(folder: str, path: str, part: str, moment: str, hit: int) -> None:
    """As `remove_at`; it gets another name."""
    rename = os.rename
    _act_at(path, part, moment, hit, lambda: rename(folder, f"{folder}-moved"))


def _act_at(path: str, part: str, moment: str, hit: int, act: Callable[[], object]) -> None:
    owner, name = owner_of(path)
    real, count = getattr(owner, name), [0]

    def trapped(*given: Any, **named: Any) -> Any:
        is_handle = bool(given) and isinstance(given[0], int)
        texts = [os.readlink(f"/proc/self/fd/{given[0]}")] if is_handle else [str(given[-1:]), str(given[:1])]
        count[0] += part in (texts[0] if name in ("rename", "replace") else " ".join(texts))
        strikes = count[0] == hit
        if strikes:
            count[0] += 1
        if strikes and moment == "before":
            act()
        result = real(*given, **named)
        if strikes and moment == "after":
            act()
        return result

    setattr(owner, name, trapped)


def count_steps(path: str, steps: int) -> None:
    """Write the number of every step that a run of BYOL has done, of `steps`, into a file, line by line."""
    from ssl_seg.methods.byol import BYOL

    real: Callable[..., None] = BYOL.after_step

    def counted(self: Any, progress: float) -> None:
        real(self, progress)
        with open(path, "a") as file:
            file.write(f"{round(progress * steps)}\n")

    BYOL.after_step = counted  # type: ignore[method-assign]


def study_in_forks() -> None:
    """A study's runs are forks of this process, in place of programs that would import everything again."""
    import sys

    from ssl_seg.cli import main
    from ssl_seg.study.runner import JobRunner

    def start(self: Any, job: Any) -> int:
        self._raise_if_stopped()
        if (pid := os.fork()) == 0:
            resume = ["--resume"] if job.state == "started" else []
            words = ["ssl-seg", job.command, *resume, "--out", str(job.folder), "--config", str(job.config)]
            sys.argv = words
            code: Any = 1
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
            finally:
                os._exit(code if isinstance(code, int) else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._raise_if_stopped()
        return code

    JobRunner.start = start  # type: ignore[method-assign]
