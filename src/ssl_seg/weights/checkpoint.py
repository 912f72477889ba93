"""Checkpoints that are whole or not there: written aside, verified, renamed.

    step-000120/  model.safetensors  optimizer.safetensors  state.json  manifest.json

The manifest holds the size and SHA-256 of the others. There is no pickle in it, and no link.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import nn
from torch.optim import Optimizer

from ssl_seg.errors import ResourceError, WeightsError
from ssl_seg.utils.files import atomic_path, sync
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.state_dict import (
    generators,
    optimizer_tensors,
    plain,
    restore_generators,
    restore_optimizer,
)
from ssl_seg.weights.tensor_file import encode

FORMAT = 1
_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]
) -> Path:
    """Write everything a run needs to go on after `step` steps, then remove all others but one.

    Args:
        folder: of all checkpoints of the run.
        step: how many steps are done.
        module, optimizer: their tensors are saved, and torch's random generators.
        state: numbers for `state.json`.

    Returns:
        The folder of the checkpoint, read back and verified.

    Raises:
        ResourceError: it could not be written; what was there before still is.
        PluginError: the module's state holds something that is no tensor.
    """
    final = folder / f"step-{step:06d}"
    contents = (
        encode(plain(module.state_dict()), {}),
        encode(plain(optimizer_tensors(optimizer) | generators()), {}),
        json.dumps({"format": FORMAT, "step": step, **state}).encode(),
    )
    files = dict(zip(_FILES, contents, strict=True))
    manifest = {name: {"size": len(data), "sha256": _digest(data)} for name, data in files.items()}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    try:
        _sweep(folder)
        with atomic_path(final) as aside:
            aside.mkdir()
            for name, data in files.items():
                _write(aside / name, data)
            sync(aside)
            if trouble := verify(aside):
                raise OSError(errno.EIO, f"it could not be read back, {trouble}")
            if final.exists():  # saved twice at one step: by the clock and at the end, or after a resume
                _remove(final)
        # a later one was refused when this run was resumed from an earlier one
        for refused in [path for path in list_checkpoints(folder) if _step(path) > step]:
            _remove(refused)
        tidy(folder, step)
    except (ResourceError, OSError) as error:
        reason = error.__cause__ or error
        need = sum(len(data) for data in files.values()) / 2**20
        free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0.0
        raise ResourceError(
            f"cannot write a checkpoint: {getattr(reason, 'strerror', '') or reason}; "
            f"it needs {need:.0f} MiB, {free:.0f} MiB are free",
            where=str(final),
            kept=newest_name(folder),
            next="free some space, then add --resume",
        ) from error
    return final


def load_checkpoint(path: Path, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Restore module, optimizer and random generators in place, bit for bit.

    Returns:
        What `state.json` holds.

    Raises:
        WeightsError: the tensors are not exactly those of the module and the optimizer.
    """
    state = read_json(path / "state.json")
    if state.get("format") != FORMAT:
        raise WeightsError(
            f"checkpoint of format {state.get('format')}, this version reads {FORMAT}", where=str(path)
        )
    try:
        module.load_state_dict(load((path / "model.safetensors").read_bytes()))
    except RuntimeError as error:
        raise WeightsError(f"the checkpoint does not fit the model: {error}", where=str(path)) from error
    tensors = load((path / "optimizer.safetensors").read_bytes())
    restore_generators(tensors)
    restore_optimizer(optimizer, tensors, path)
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=_step)  # by number: of more than six digits, names do not sort


def _step(path: Path) -> int:
    return int(path.name[5:])


def newest_checkpoint(folder: Path) -> tuple[Path, list[str]]:
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
        where="; ".join(refused) or f"{folder} holds none",
        next="start again with another --out",
    )


def newest_name(folder: Path) -> str | None:
    """The path of the newest checkpoint that verifies, to be told with an error; None without one."""
    try:
        return str(newest_checkpoint(folder)[0])
    except WeightsError:
        return None


def verify(path: Path) -> str:
    """What is wrong with a checkpoint; empty when its files are those that were written."""
    try:
        manifest = read_json(path / "manifest.json")
        for name in _FILES:
            entry, data = manifest[name], (path / name).read_bytes()
            if len(data) != entry["size"]:
                return f"{name} has {len(data)} bytes instead of {entry['size']}"
            if _digest(data) != entry["sha256"]:
                return f"{name}: SHA-256 differs"
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "manifest.json is damaged"
    return ""


def tidy(folder: Path, step: int) -> None:
    """Remove what killed processes left behind, and of the checkpoints before `step` all but one."""
    _sweep(folder)
    for old in [path for path in list_checkpoints(folder) if _step(path) < step][:-1]:
        _remove(old)


def _sweep(folder: Path) -> None:
    for leftover in [*folder.glob(".step-*"), *folder.glob(".trash-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Rename first, so that a half-removed checkpoint is never taken for a whole one."""
    trash = path.with_name(f".trash-{path.name}")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)
