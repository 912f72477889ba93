"""Checkpoints that are whole or not there: written aside, verified, renamed.

    step-000120/  model.safetensors  optimizer.safetensors  state.json  manifest.json

The manifest holds the size and SHA-256 of the others. There is no pickle in it, and no link.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.errors import ResourceError, WeightsError
from ssl_seg.utils.files import atomic_path, sync
from ssl_seg.utils.text import size_text
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.checkpoint_files import (
    FILES,
    digest_of,
    latest_checkpoint_name,
    list_checkpoints,
    prune_checkpoints,
    remove_checkpoint,
    step_of,
    sweep,
    verify,
)
from ssl_seg.weights.state_dict import (
    get_rng_state,
    load_optimizer_state,
    optimizer_state_tensors,
    plain,
    require_tensors,
    set_rng_state,
)
from ssl_seg.weights.tensor_file import encode

FORMAT = 1


@dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on after `step` steps.

    Attributes:
        step: how many steps are done.
        model, optimizer: tensors by name; those of the optimizer and of torch's random generators.
        state: what `state.json` will hold.
    """

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: bytes


def take_snapshot(step: int, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> Snapshot:
    """The state of a run as it is now; its tensors are those of the module and the optimizer, no copies.

    Args:
        state: numbers for `state.json`.

    Raises:
        PluginError: the module's state holds something that is no tensor.
    """
    rest = optimizer_state_tensors(optimizer) | get_rng_state()
    text = json.dumps({"format": FORMAT, "step": step, **state})
    return Snapshot(step, require_tensors(module.state_dict()), rest, text.encode())


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]
) -> Path:
    """Take a snapshot and write it; see `take_snapshot` and `write_checkpoint`."""
    return write_checkpoint(folder, take_snapshot(step, module, optimizer, state))


def write_checkpoint(folder: Path, snapshot: Snapshot) -> Path:
    """Write a checkpoint, then remove all others but one.

    Args:
        folder: of all checkpoints of the run.

    Returns:
        The folder of the checkpoint, read back and verified.

    Raises:
        ResourceError: it could not be written; what was there before still is.
    """
    step = snapshot.step
    final = folder / f"step-{step:06d}"
    contents = (
        encode(plain(snapshot.model), {}),
        encode(plain(snapshot.optimizer), {}),
        snapshot.state,
    )
    files = dict(zip(FILES, contents, strict=True))
    manifest = {name: {"size": len(data), "sha256": digest_of(data)} for name, data in files.items()}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    try:
        sweep(folder)
        with atomic_path(final) as aside:
            aside.mkdir()
            for name, data in files.items():
                _write(aside / name, data)
            sync(aside)
            if trouble := verify(aside):
                raise OSError(errno.EIO, f"verification failed: {trouble}")
            if final.exists():  # saved twice at one step: by the clock and at the end, or after a resume
                remove_checkpoint(final)
        # a later one was refused when this run was resumed from an earlier one
        for refused in [path for path in list_checkpoints(folder) if step_of(path) > step]:
            remove_checkpoint(refused)
        prune_checkpoints(folder, step)
    except (ResourceError, OSError) as error:
        reason = error.__cause__ or error
        need = sum(len(data) for data in files.values())
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise ResourceError(
            f"cannot write a checkpoint: {getattr(reason, 'strerror', '') or reason}; "
            f"it needs {size_text(need)}, {size_text(free)} is free",
            where=str(final),
            kept=latest_checkpoint_name(folder),
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
        raise WeightsError(f"the checkpoint does not match the model: {error}", where=str(path)) from error
    tensors = load((path / "optimizer.safetensors").read_bytes())
    set_rng_state(tensors)
    load_optimizer_state(optimizer, tensors, path)
    return state


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
