"""The files of checkpoints: which there are, whether they are whole, and what `state.json` says. Loads no torch."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_seg.errors import WeightsError
from ssl_seg.utils.toml import read_json

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=step_of)  # by number: of more than six digits, names do not sort


def step_of(path: Path) -> int:
    """How many steps were done: `step-000120` -> 120."""
    return int(path.name[5:])


def latest_valid_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint that verifies, and what is wrong with the newer ones.

    Raises:
        WeightsError: there is none.
    """
    refused: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        trouble = verify(path)
        if not trouble:
            return path, refused
        refused.append(f"{path.name}: {trouble}")
    raise WeightsError(
        "no usable checkpoint",
        where="; ".join(refused) or f"{folder} contains no checkpoint",
        next="start again with another --out",
    )


def latest_checkpoint_name(folder: Path) -> str | None:
    """The path of the newest checkpoint that verifies, to be told with an error; None without one."""
    try:
        return str(latest_valid_checkpoint(folder)[0])
    except WeightsError:
        return None


def newest_state(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name of the newest checkpoint whose `state.json` verifies, and what that holds; both empty without one."""
    for path in reversed(list_checkpoints(folder)):
        if not verify(path, ("state.json",)):
            state = read_json(path / "state.json")
            return path.name, state
    return "", {}


def verify(path: Path, names: Sequence[str] = FILES) -> str:
    """What is wrong with a checkpoint, or with some of its files; empty when they are those that were written."""
    try:
        manifest = read_json(path / "manifest.json")
        for name in names:
            entry, data = manifest[name], (path / name).read_bytes()
            if len(data) != entry["size"]:
                return f"{name} has {len(data)} bytes instead of {entry['size']}"
            if digest_of(data) != entry["sha256"]:
                return f"{name}: SHA-256 mismatch"
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "manifest.json is corrupt"
    return ""


def prune_checkpoints(folder: Path, step: int) -> None:
    """Remove what killed processes left behind, and of the checkpoints before `step` all but one."""
    sweep(folder)
    for old in [path for path in list_checkpoints(folder) if step_of(path) < step][:-1]:
        remove_checkpoint(old)


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for leftover in [*folder.glob(".step-*"), *folder.glob(".trash-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def digest_of(data: bytes) -> str:
    """SHA-256, as manifests have it."""
    return hashlib.sha256(data).hexdigest()


def remove_checkpoint(path: Path) -> None:
    """Rename first, so that a half-removed checkpoint is never taken for a whole one."""
    trash = path.with_name(f".trash-{path.name}")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)
