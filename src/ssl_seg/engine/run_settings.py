"""What a run was started with: `run.toml`, held against what its newest checkpoint says."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.code_names import resuming, same_code, same_name
from ssl_seg.utils.text import listed
from ssl_seg.utils.toml import read_toml
from ssl_seg.weights.checkpoint_files import newest_state

NAME = "run.toml"
# flags that a resumed run may change: they do not touch what is computed
RESUME_OVERRIDABLE = frozenset(
    {
        "allow_overlap",
        "save_every",
        "cache",
        "out",
        "config",
        "resume",
        "auto_resume",
        "compile",
        "cuda_graph",
        "track",
        "max_time",
        "device",
    }
)
# where images lie: a resumed run may find them elsewhere, `record` compares what is in them
PLACES = frozenset({"data", "probe", "train", "val", "extra"})
COMPONENTS = {
    "ssl": "ssl",
    "backbone": "backbones",
    "head": "heads",
    "metric": "metrics",
}  # flags that name one
# what a flag stood for before it was there; of a switch: off
BEFORE = {"sync_batchnorm": "all"}
_SHOWN = 6


def is_run(folder: Path) -> bool:
    """Whether there is something to resume: `run.toml`, or a checkpoint that holds what it said."""
    return (folder / NAME).exists() or "settings" in newest_state(folder / "checkpoints")[1]


def can_resume(folder: Path) -> bool:
    """Whether a run has a checkpoint, so that there is something to go on from."""
    return bool(newest_state(folder / "checkpoints")[0])


def read_settings(folder: Path) -> dict[str, Any]:
    """What the run in a folder was started with. Without `run.toml` it is what the newest checkpoint holds.

    Checkpoints of version 0.1.0 hold no settings: there `run.toml` is taken at its word.

    Raises:
        WeightsError: there is no run; or `run.toml` is damaged, or was edited where that changes the result.
    """
    path = folder / NAME
    name, state = newest_state(folder / "checkpoints")
    started: dict[str, Any] | None = state.get("settings")
    if not path.exists():
        if started is None:
            raise WeightsError(f"no run to resume in {folder}", next="omit --resume to start a new run")
        return started
    way = None if started is None else _way_back(folder, started)
    try:
        found = read_toml(path)
    except UsageError as error:
        raise WeightsError(f"run.toml is corrupt: {error.what}", where=str(path), next=way) from error
    started = None if started is None else _as_prolonged(started, found)
    if changed := [] if started is None else [*differences(started, found), *_lost(started, found)]:
        raise WeightsError(
            f"run.toml differs from the settings in {name}",
            where="\n       ".join([f"{path}: {changed[0]}", *changed[1:_SHOWN]]),
            next=way,
        )
    return found


def is_longer(epochs: int, stored: Mapping[str, Any]) -> bool:
    """Whether a run of `ssl-seg train` gets more epochs than it had."""
    of_train = stored.get("record", {}).get("command") == "train"
    return of_train and epochs > int(stored.get("epochs", epochs))


def prolonged(settings: Mapping[str, Any], epochs: int, step: int) -> dict[str, Any]:
    """The settings of a run that gets more epochs, with a record of it: `[step, from, to]`."""
    record = settings.get("record", {})
    entry = [step, settings["epochs"], epochs]
    return {
        **settings,
        "epochs": epochs,
        "record": {**record, "prolonged": [*record.get("prolonged", []), entry]},
    }


def _as_prolonged(started: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint, with the epochs that `run.toml` records as given since."""
    record, epochs = now.get("record"), started.get("epochs")
    entries = record.get("prolonged", []) if isinstance(record, Mapping) else []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, list) and len(entry) == 3 and entry[1] == epochs:
            epochs = entry[2]
    if epochs == started.get("epochs"):
        return dict(started)
    return {**started, "epochs": epochs, "record": {**started.get("record", {}), "prolonged": entries}}


def differences(started: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`lr: was 0.001, is 0.9` for each setting that differs and must not; tables are compared key by key."""
    for key in dict.fromkeys([*started, *now]):
        if (
            not prefix
            and key in RESUME_OVERRIDABLE
            or (key in PLACES and key in started and key in now and not prefix)
        ):
            continue
        old, new = started.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new or type(old) is not type(new):
            yield f"{prefix}{key}: was {_shown(old)}, is {_shown(new)}"


def _lost(started: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Images that still lie where they lay, and not where `run.toml` now says."""
    for key in sorted(PLACES):
        old, new = started.get(key), now.get(key)
        if old != new and isinstance(old, str) and isinstance(new, str) and _is_there(old) > _is_there(new):
            yield f"{key}: was {old!r}, is {new!r} (not found)"


def _is_there(data: str) -> bool:
    """Whether `PATH` or `FORMAT:PATH` leads to something."""
    return any(os.path.exists(os.path.expanduser(path)) for path in (data, data.partition(":")[2]) if path)


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:80]


def _way_back(folder: Path, settings: Mapping[str, Any]) -> str:
    again = resuming(settings.get("record", {}).get("command", "train"), folder, settings)
    move = shlex.join(["mv", str(folder / NAME), str(folder / f"{NAME}.old")])
    return f"{move}; {again}  # restores it from the checkpoint"


def check_batch_split(config: Mapping[str, Any], world_size: int) -> None:
    """A batch is that of all processes, and each cuts its share as `--accumulate` asks.

    Raises:
        UsageError: the parts would not be equal.
    """
    size, parts = config["batch_size"], config["accumulate"]
    if size % (parts * world_size):
        shares = f" for each of {world_size} processes" if world_size > 1 else ""
        nearest = max(1, round(size / (parts * world_size))) * parts * world_size
        raise UsageError(
            f"batch size {size} is not divisible into {parts} micro-batches{shares}",
            next=f"--batch-size {nearest}",
        )


def check_resume_config(config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """A resumed run must be the run that was started; one of `ssl-seg train` may get more epochs.

    Raises:
        UsageError: a flag differs; with a line `key: was -> now` for each.
    """
    moved = {key for key in PLACES if stored.get(key) is not None}
    changed = [
        f"{key}: was {before!r}, now {value!r}"
        for key, value in config.items()
        for before in [stored.get(key, BEFORE.get(key, False))]
        if key not in RESUME_OVERRIDABLE | moved
        and not (key == "epochs" and is_longer(value, stored))
        and not (same_name if key in COMPONENTS else same_code)(value, before)
        and not (value is None or value == {})
    ]
    if changed:
        raise UsageError(
            "flags differ from those of the run being resumed",
            where=listed(changed[:6]),
            next="omit them, or start a new run with another --out",
        )
