"""The record of a run: how its weights were trained."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.results.scores import read_scores
from ssl_seg.utils.toml import read_json, read_toml


@dataclass(frozen=True)
class RunRecord:
    """One run; fields are empty where nothing is known.

    Attributes:
        name: of the folder.
        settings: the flags of the run.
        environment: what it found out: images, fingerprints, versions, device.
        epoch: of the weights that are exported.
        numbers: what was measured after that epoch, by name.
        measured_on: `settings` and `environment` have the images under this name.
        is_best_epoch: whether the epoch was chosen by these numbers.
    """

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    epoch: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    measured_on: str = ""
    is_best_epoch: bool = False

    def images(self, name: str) -> Mapping[str, Any]:
        """Return number and fingerprint of the images of `data`, `train`, `val` or `probe`; empty without."""
        images: Mapping[str, Any] = self.environment.get(name) or {}
        return images


def read_record(folder: Path, which: Literal["last", "best"] = "last") -> RunRecord:
    """Read the record of a run folder; an empty one for another folder.

    Args:
        which: the epoch whose scores are read.
    """
    if not (folder / "run.toml").exists():
        return RunRecord(folder.name)
    warn_of_damage(folder)
    settings = read_toml(folder / "run.toml")
    environment = settings.pop("record", {})
    lines = read_scores(folder)
    last: dict[str, Any] = dict(lines[-1]) if lines else {}
    epoch, measured_on = last.get("epoch"), "probe"
    numbers = {key: value for key, value in last.items() if key.startswith("probe_")}
    if environment.get("command") != "train":
        result = _json(folder / "result.json").get(which, {})
        epoch, measured_on = result.pop("epoch", epoch), "val"
        numbers = result
    numbers = {key: value for key, value in numbers.items() if _is_number(value)}
    return RunRecord(folder.name, settings, environment, epoch, numbers, measured_on, which == "best")


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # without the file there are no scores
        return read_json(path)
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
