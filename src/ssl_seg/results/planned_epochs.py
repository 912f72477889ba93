"""How many epochs a run has in the end."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_seg.errors import pluralize
from ssl_seg.results.status import read_status
from ssl_seg.utils.toml import read_toml


def total_steps(epochs: int, max_steps: int | None, steps_per_epoch: int) -> int:
    """Steps of a run; `--max-steps` may end it within an epoch."""
    return min(epochs * steps_per_epoch, max_steps or sys.maxsize)


def epochs_of(settings: Mapping[str, Any]) -> int:
    """By a run's `run.toml`, the last may be a part of one; 0 if it does not say."""
    epochs, _, steps_per_epoch = limits = _limits(settings)
    return -(-total_steps(*limits) // steps_per_epoch) if steps_per_epoch else epochs


def training_length(settings: Mapping[str, Any]) -> str:
    """`5 epochs`, or `75 steps` if `--max-steps` ends the run within one; empty if `run.toml` does not say."""
    epochs, _, steps_per_epoch = limits = _limits(settings)
    if not steps_per_epoch:
        return pluralize(epochs, "epoch") if epochs else ""
    steps = total_steps(*limits)
    whole, rest = divmod(steps, steps_per_epoch)
    return pluralize(steps, "step") if rest else pluralize(whole, "epoch")


def _limits(settings: Mapping[str, Any]) -> tuple[int, int, int]:
    """`epochs`, `max_steps` and the steps of an epoch; 0 where there is none."""
    record = settings.get("record")
    steps_per_epoch = record.get("steps_per_epoch") if isinstance(record, dict) else 0
    found = (settings.get("epochs"), settings.get("max_steps"), steps_per_epoch)
    epochs, max_steps, steps = (value if isinstance(value, int) else 0 for value in found)
    return epochs, max_steps, steps


def planned_epochs(run: Path) -> int:
    """Of a run's folder: those it has got if it is finished, since it may have stopped early; 0 without a `run.toml`."""
    path = run / "run.toml"
    settings = read_toml(path) if path.is_file() else {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        if (status := read_status(run))["state"] == "finished":
            settings["max_steps"] = status["step"]
    return epochs_of(settings)
