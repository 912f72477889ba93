"""The scores of a run, sent to TensorBoard, Weights & Biases or MLflow as well, by Accelerate's trackers."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from accelerate import tracking

from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.extras import require
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_json

LOGGERS = ("tensorboard", "wandb", "mlflow")
_IDS = "tracking.json"


def parse_loggers(text: str) -> list[str]:
    """`tensorboard,wandb` as names, each once, if their packages are there.

    Raises:
        UsageError: an unknown name, or a package that is not installed.
    """
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in LOGGERS:
            raise UsageError(
                f"no tracker {name!r}{did_you_mean(name, LOGGERS)}", next=f"--track {','.join(LOGGERS)}"
            )
        require(f"--track {name}", [name], "'ssl-seg[tensorboard]'" if name == "tensorboard" else name)
    return names


class ExperimentLogger:
    """Sends scores on. Use it as a context manager.

    It starts with the first scores, so that what a resumed run measures again replaces what came after its
    checkpoint. Nothing leaves the machine unless the environment asks for it (`WANDB_MODE=online`,
    `MLFLOW_TRACKING_URI`). A tracker that fails is told of once and left out; the run goes on.

    Args:
        names: see `parse_loggers`; none for all processes but the main one.
        run: whose scores they are; files of trackers lie in its folder.
    """

    def __init__(self, names: Sequence[str], run: Run) -> None:
        self._run = run
        self._names = list(names)
        self._started: dict[str, tracking.GeneralTracker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name, tracker in self._started.items():
            try:
                tracker.finish()
            except (Exception, SystemExit) as error:
                log.warning("--track %s could not be closed: %r", name, error)

    def log(self, scores: Mapping[str, float]) -> None:
        """Send one line of `scores.jsonl` on."""
        step = int(scores["step"])
        for name in list(self._names):
            try:
                if name not in self._started:
                    self._started[name] = self._start(name, step)
                self._started[name].log({key: value for key, value in scores.items() if key != "step"}, step)
            except (Exception, SystemExit) as error:  # foreign code, and perhaps a network
                self._names.remove(name)
                log.warning("--track %s failed and is disabled; training continues: %r", name, error)

    def _start(self, name: str, step: int) -> tracking.GeneralTracker:
        folder, known = self._run.folder.absolute(), self._ids()
        number = known.get(name)  # of the run in the tracker's own book
        tracker: Any
        options: dict[str, Any] = {}
        if name == "tensorboard":
            # what an earlier process wrote of this step and later ones is not shown
            tracker = tracking.TensorBoardTracker(name, folder, purge_step=step)
        elif name == "wandb":
            options = {"id": number or uuid.uuid4().hex[:12], "resume": "allow"}
            options |= {"mode": os.environ.get("WANDB_MODE", "offline"), "dir": str(folder)}
            tracker = tracking.WandBTracker("ssl-seg", name=folder.name, **options)
        else:
            _use_folder(folder)
            options = {"run_name": folder.name, "run_id": number}
            tracker = tracking.MLflowTracker("ssl-seg", logging_dir=str(folder / "mlflow"), **options)
        tracker.start()
        if name not in known:
            run_id = {"tensorboard": name, "wandb": options.get("id")}.get(
                name
            ) or tracker.tracker.info.run_id
            self._remember(name, run_id)
            self._log_config(name, tracker)
        return tracker

    def _log_config(self, name: str, tracker: Any) -> None:
        if name == "tensorboard":  # Accelerate's way makes a second run beside this one
            text = (self._run.folder / "run.toml").read_text()
            tracker.log({"run.toml": f"```toml\n{text}\n```"}, step=0)
        else:
            tracker.store_init_configuration(dict(_flat(self._run.settings())))

    def _ids(self) -> dict[str, str]:
        path = self._run.folder / _IDS
        return read_json(path) if path.exists() else {}

    def _remember(self, name: str, number: str) -> None:
        atomic_write_text(self._run.folder / _IDS, json.dumps({**self._ids(), name: number}) + "\n")


def _use_folder(folder: Path) -> None:
    """MLflow writes into the run's folder, unless the environment names a place."""
    if "MLFLOW_TRACKING_URI" in os.environ:
        return
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"o": {"ssl": {"decay": 1}}}` -> `("o.ssl.decay", 1)`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, bool | int | float | str) else str(value)
