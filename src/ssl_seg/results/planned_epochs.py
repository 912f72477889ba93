"""How many epochs a run has in the end."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_seg.results.status import read_status
from ssl_seg.utils.toml import read_toml


def num_epochs(epochs: int, max_steps: int | None, steps_per_epoch: int) -> int:
    """`epochs`, or fewer if `--max-steps` ends the run before; the last may be a part of one."""
    return min(epochs, -(-max_steps // steps_per_epoch)) if max_steps else epochs


def epochs_of(settings: Mapping[str, Any]) -> int:
    """By a run's `run.toml`; 0 if it does not say."""
    epochs, max_steps, record = (settings.get(key) for key in ("epochs", "max_steps", "record"))
    steps = record.get("steps_per_epoch") if isinstance(record, dict) else 0
    if not isinstance(epochs, int):
        return 0
    if not isinstance(max_steps, int) or not isinstance(steps, int) or steps < 1:
        return epochs
    return num_epochs(epochs, max_steps, steps)


def planned_epochs(run: Path) -> int:
    """Of a run's folder: those it has got if it is finished, since it may have stopped early; 0 without a `run.toml`."""
    path = run / "run.toml"
    settings = read_toml(path) if path.is_file() else {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        if (status := read_status(run))["state"] == "finished":
            settings["max_steps"] = status["step"]
    return epochs_of(settings)
