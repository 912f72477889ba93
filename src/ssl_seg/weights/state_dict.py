"""The state of a module, an optimizer and torch's generators as named tensors, and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssl_seg.errors import PluginError, WeightsError
from ssl_seg.utils.files import atomic_write_bytes
from ssl_seg.weights.tensor_file import encode


def require_tensors(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors themselves.

    Raises:
        PluginError: a value is no tensor.
    """
    for name, value in tensors.items():
        if not torch.is_tensor(value):
            raise PluginError(
                f"the state {name!r} has type {type(value).__name__}; checkpoints store tensors only",
                next="register it as a buffer",
            )
    return dict(tensors)


def plain(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """On the CPU, contiguous, none sharing memory with another: what safetensors can hold.

    Raises:
        PluginError: a value is no tensor.
    """
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in require_tensors(tensors).items()
    }


def write_tensors(path: Path, tensors: Mapping[str, Any], form: str, metadata: Mapping[str, Any]) -> None:
    """Write weights, with `form` and `metadata` in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
        PluginError: a value is no tensor.
    """
    # sorted: options that were given in another order make the same file
    texts = {"format": form, "about": json.dumps(dict(metadata), sort_keys=True)}
    atomic_write_bytes(path, encode(plain(tensors), texts))


def optimizer_state_tensors(optimizer: Optimizer) -> dict[str, Any]:
    """What it remembers of each parameter, under `index.name`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer_state(optimizer: Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give back what `optimizer_state_tensors` took, in place.

    Raises:
        WeightsError: there are parameters it does not have.
    """
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


def get_rng_state() -> dict[str, Tensor]:
    """The states of torch's random generators."""
    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def set_rng_state(tensors: Mapping[str, Tensor]) -> None:
    """Set torch's random generators to saved states."""
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
