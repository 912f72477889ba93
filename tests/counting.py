"""Counts what a device would be asked to do, without one: tensors on `meta` stand for those on a GPU."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class DeviceCounter(TorchDispatchMode):
    """While it is entered: copies to the device, and operators there, each of which is a launch at least.

    Attributes:
        copies, launches: how often, by name.
    """

    def __init__(self):
        super().__init__()
        self.copies, self.launches = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        came = {each.device.type for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        made = {each.device.type for each in tree_leaves(out) if isinstance(each, torch.Tensor)}
        packet = func.overloadpacket
        if "meta" not in came | made:
            return out
        if "cpu" in came and packet in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.copies[str(packet)] += 1
        elif not func.is_view and packet is not torch.ops.aten.detach:
            self.launches[str(packet)] += 1
        return out
