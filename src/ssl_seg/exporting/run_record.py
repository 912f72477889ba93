"""What a run's folder tells of how its weights were made."""

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
class Record:
    """One run; empty where nothing is known.

    Attributes:
        name: of the folder.
        settings: the flags of the run.
        found: what it found out: images, fingerprints, versions, device.
        epoch: of the weights that are exported.
        numbers: what was measured after that epoch, by name.
        measured_on: `settings` and `found` have the images under this name.
        chosen: whether the epoch was chosen by these numbers.
    """

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    epoch: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    measured_on: str = ""
    chosen: bool = False

    def images(self, name: str) -> Mapping[str, Any]:
        """Number and fingerprint of the images of `data`, `train`, `val` or `probe`; empty if there are none."""
        found: Mapping[str, Any] = self.found.get(name) or {}
        return found

    @property
    def learnt_from(self) -> str:
        """The name of the images that were trained on."""
        return "data" if self.images("data") else "train"


def read_record(folder: Path, which: Literal["last", "best"] = "last") -> Record:
    """The record of a run's folder; an empty one for a folder that is no run's.

    Args:
        which: the epoch whose numbers are wanted.
    """
    if not (folder / "run.toml").exists():
        return Record(folder.name)
    warn_of_damage(folder)
    settings = read_toml(folder / "run.toml")
    found = settings.pop("record", {})
    lines = read_scores(folder)
    last: dict[str, Any] = dict(lines[-1]) if lines else {}
    epoch, measured_on = last.get("epoch"), "probe"
    numbers = {key: value for key, value in last.items() if key.startswith("probe_")}
    if found.get("command") != "train":
        result = _json(folder / "result.json").get(which, {})
        epoch, measured_on = result.pop("epoch", epoch), "val"
        numbers = result
    numbers = {key: value for key, value in numbers.items() if _is_number(value)}
    return Record(folder.name, settings, found, epoch, numbers, measured_on, which == "best")


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # without it there are no numbers to tell
        return read_json(path)
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
