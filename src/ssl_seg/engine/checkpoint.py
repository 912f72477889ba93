"""Checkpoints that are whole or not there: written aside, verified, renamed.

    step-000120/  model.safetensors  optimizer.safetensors  state.json  manifest.json

The manifest holds the size and SHA-256 of the others. There is no pickle in it, and no link.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.errors import ResourceError, WeightsError

FORMAT = 1
KEEP = 2


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]
) -> Path:
    """Write everything a run needs to go on after `step` steps, then remove older ones but one.

    Args:
        folder: of all checkpoints of the run.
        step: how many steps are done.
        module, optimizer: their tensors are saved, and torch's random generators.
        state: numbers for `state.json`.

    Returns:
        The folder of the checkpoint, read back and verified.

    Raises:
        ResourceError: it could not be written; what was there before still is.
    """
    final = folder / f"step-{step:06d}"
    aside = folder / f".{final.name}.tmp-{os.getpid()}"
    files = {
        "model.safetensors": save(_plain(module.state_dict())),
        "optimizer.safetensors": save(_plain(_optimizer_tensors(optimizer) | _generators())),
        "state.json": json.dumps({"format": FORMAT, "step": step, **state}).encode(),
    }
    manifest = {name: {"size": len(data), "sha256": _digest(data)} for name, data in files.items()}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        aside.mkdir()
        for name, data in files.items():
            _write(aside / name, data)
        _sync_folder(aside)
        if trouble := verify(aside):
            raise ResourceError(f"a checkpoint could not be read back: {trouble}", where=str(aside))
        _replace(aside, final)
        _sync_folder(folder)
        for old in list_checkpoints(folder)[:-KEEP]:
            _remove(old)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        need = sum(len(data) for data in files.values()) / 2**20
        free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0.0
        raise ResourceError(
            f"cannot write a checkpoint: {error.strerror or error}; "
            f"it needs {need:.0f} MiB, {free:.0f} MiB are free",
            where=str(final),
            kept=_newest_name(folder),
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
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    if state.get("format") != FORMAT:
        raise WeightsError(
            f"checkpoint of format {state.get('format')}, this version reads {FORMAT}", where=str(path)
        )
    try:
        module.load_state_dict(load((path / "model.safetensors").read_bytes()))
    except RuntimeError as error:
        raise WeightsError(f"the checkpoint does not fit the model: {error}", where=str(path)) from error
    tensors = load((path / "optimizer.safetensors").read_bytes())
    _restore_generators(tensors)
    _restore_optimizer(optimizer, tensors, path)
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


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


def verify(path: Path) -> str:
    """What is wrong with a checkpoint; empty when its files are those that were written."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        for name, entry in manifest.items():
            data = (path / name).read_bytes()
            if len(data) != entry["size"]:
                return f"{name} has {len(data)} bytes instead of {entry['size']}"
            if _digest(data) != entry["sha256"]:
                return f"{name}: SHA-256 differs"
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "manifest.json is damaged"
    return ""


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written or half removed."""
    for leftover in [*folder.glob(".step-*"), *folder.glob(".trash-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, none sharing memory with another: what safetensors can hold."""
    return {
        name: tensor.detach().cpu().contiguous().clone() if tensor.ndim else tensor.detach().cpu().clone()
        for name, tensor in tensors.items()
    }


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if torch.is_tensor(value) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        if not index.isdigit():
            continue
        if int(index) >= len(parameters):
            raise WeightsError("the checkpoint is of another optimizer", where=str(path))
        state.setdefault(int(index), {})[name] = _like(tensor, parameters[int(index)])
    saved = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """In the memory layout of its parameter: fused optimizers walk both side by side."""
    if tensor.shape != parameter.shape or tensor.ndim == 0:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _generators() -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_generators(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(aside: Path, final: Path) -> None:
    if final.exists():  # saved twice at one step: by the clock and at the end, or after a resume
        _remove(final)
    os.rename(aside, final)


def _remove(path: Path) -> None:
    """Rename first, so that a half-removed checkpoint is never taken for a whole one."""
    trash = path.with_name(f".trash-{path.name}")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _newest_name(folder: Path) -> str | None:
    try:
        return str(newest_checkpoint(folder)[0])
    except WeightsError:
        return None
