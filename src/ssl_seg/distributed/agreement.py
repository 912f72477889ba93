"""Compare values between processes."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import distributed as dist

from ssl_seg.utils.toml import parse_json


def first_difference(values: Mapping[str, Any], group: Any) -> tuple[str, int, Any, Any] | None:
    """What differs first between processes, the same answer in all of them.

    Args:
        values: by name; nested ones are compared one by one.
        group: of processes, that exchanges tensors on the CPU; None for the default one.

    Returns:
        Its name, the process that has another value than process 0, the value there, and that one; None if nothing
        differs.
    """
    found = [parse_json(text) for text in _texts(json.dumps(values, sort_keys=True, default=str), group)]
    for rank, theirs in enumerate(found):
        for name, one, other in differing(found[0], theirs):
            return name, rank, one, other
    return None


def from_main(make: Callable[[], bytes], barrier: Callable[[], None], group: Any) -> bytes:
    """What the main process makes, in all processes.

    Args:
        make: called in the main process alone.
        barrier: waits for it as long as it takes.
        group: see `first_difference`.
    """
    made = make() if dist.get_rank() == 0 else b""
    barrier()
    length = torch.tensor(len(made))
    dist.broadcast(length, 0, group=group)
    data = torch.empty(int(length), dtype=torch.uint8)
    if made:
        data = torch.frombuffer(bytearray(made), dtype=torch.uint8)
    if len(data):
        dist.broadcast(data, 0, group=group)
    return data.numpy().tobytes()


def differing(one: Any, two: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of everything that differs in two JSON values."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            yield from differing(one.get(key), two.get(key), f"{name}.{key}" if name else key)
    elif one != two:
        yield name, one, two


def _texts(text: str, group: Any) -> list[str]:
    """The texts of all processes."""
    own = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    longest = torch.tensor(len(own))
    dist.all_reduce(longest, dist.ReduceOp.MAX, group=group)
    padded = torch.zeros(int(longest), dtype=torch.uint8)
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, padded, group=group)
    return [bytes(part.tolist()).rstrip(b"\0").decode() for part in parts]
