"""Devices by name, and what they can do."""

import torch

from ssl_seg.errors import UsageError


def find_device(name: str, world_size: int = 1) -> torch.device | None:
    """The device of a name; None where the processes choose, each its own.

    Raises:
        UsageError: it is not there, or one device is named for several processes.
    """
    if name == "auto" or (name == "cuda" and world_size > 1 and torch.cuda.is_available()):
        return None
    count, has_mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    known = ["cpu", *(f"cuda:{index}" for index in range(count)), *(["mps"] if has_mps else [])]
    if ("cuda:0" if name == "cuda" else name) not in known:
        text = f"--device {' or '.join(known)}"
        raise UsageError(f"no device {name!r} here: there is {', '.join(known)}", next=text)
    if world_size > 1 and name != "cpu":
        raise UsageError(f"--device {name} is one device for {world_size} processes", next="omit --device")
    return torch.device("cuda:0" if name == "cuda" else name)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast here: tensor cores of a GPU, or a CPU's AMX tiles."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(device.type == "cpu" and tiles is not None and tiles())
