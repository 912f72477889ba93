"""Which tensors of a file are those of a network: all of them under one prefix, or none."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_seg.errors import WeightsError

COUNTER = "num_batches_tracked"  # files from before PyTorch 0.4.1 have none; it only counts
# worked out from the network's size: saved by some versions of the libraries, not by others
_DERIVED = (COUNTER, "relative_position_index", "relative_coords_table", "attn_mask")
_HEADS = {"classifier", "fc", "head", "heads"}  # a classifier may lie in a part that the network keeps
_COPIES = {"target", "momentum", "teacher", "ema", "swa", "key", "k", "shadow"}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """How a network fits what a file has under one prefix.

    Attributes:
        prefix: empty, or ends in a dot.
        keys: of the network's tensors that fit, the name in the file.
        unlike: the same of those that have another shape or kind there.
        missing: the network's tensors that the file has not.
        left_over: what else is under the prefix, without it.
        larger: of these, what belongs inside a part of the network.
    """

    prefix: str
    keys: dict[str, str]
    unlike: dict[str, str]
    missing: list[str]
    left_over: list[str]
    larger: list[str]

    @property
    def lacks_only_counters(self) -> bool:
        """Whether all that is missing are BatchNorm's counters."""
        return bool(self.keys) and not self.unlike and all(name.endswith(COUNTER) for name in self.missing)

    @property
    def moves_slowly(self) -> bool:
        """Whether the prefix speaks of a moving average of the network that was trained."""
        return not _COPIES.isdisjoint(re.split(r"[._-]", self.prefix.lower()))


def find_fits(module: nn.Module, tensors: Tensors) -> list[Fit]:
    """One for every prefix after which a name of the module's comes, itself or by numbered children."""
    own: dict[str, Tensor] = module.state_dict()
    fits = []
    for names in ({name: name for name in own}, _numbered(module, own)):
        wanted = set(names.values())
        prefixes = {key[:start] for key in tensors for start in _starts(key) if key[start:] in wanted}
        fits += [_fit(prefix, names, own, tensors) for prefix in sorted(prefixes, key=len)]
    return fits


def _starts(key: str) -> list[int]:
    """Where the components of a name begin."""
    return [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]


def _numbered(module: nn.Module, own: Tensors) -> dict[str, str]:
    """The names as in `nn.Sequential(*network.children())`: a child's place instead of its name."""
    first = {name.split(".")[0] for name in own}
    children = list(module.named_children())
    while len(children) == 1 and children[0][0] not in first:  # a wrapper that shows in no name
        children = list(children[0][1].named_children())
    places = {name: str(place) for place, (name, _) in enumerate(children)}
    split = {name: name.partition(".") for name in own}
    return {name: places.get(child, child) + dot + rest for name, (child, dot, rest) in split.items()}


def _fit(prefix: str, names: Mapping[str, str], own: Tensors, tensors: Tensors) -> Fit:
    there = {name: prefix + names[name] for name in own if prefix + names[name] in tensors}
    keys = {name: key for name, key in there.items() if _alike(own[name], tensors[key])}
    taken = set(there.values())
    left_over = [key[len(prefix) :] for key in tensors if key.startswith(prefix) and key not in taken]
    depth = _depth(names)
    parts = {tuple(name.split(".")[:depth]) for name in names.values()}
    return Fit(
        prefix=prefix,
        keys=keys,
        unlike={name: key for name, key in there.items() if name not in keys},
        missing=[name for name in own if name not in there],
        left_over=left_over,
        larger=[
            name
            for name in left_over
            if tuple(name.split(".")[:depth]) in parts
            and _HEADS.isdisjoint(name.split("."))
            and not name.endswith(_DERIVED)
        ],
    )


def _alike(mine: Tensor, theirs: Tensor) -> bool:
    """Whether the one can be copied into the other without a change of meaning; half precision can."""
    return (
        mine.shape == theirs.shape
        and theirs.layout is torch.strided
        and theirs.device.type == "cpu"  # a meta tensor has no numbers
        and (theirs.is_floating_point() or not mine.is_floating_point())
    )


def _depth(names: Mapping[str, str]) -> int:
    """How many components of a name say which part of the network it is in: one, unless all share it.

    The members of a list are no parts: a twentieth layer beside nineteen is not a head.
    """
    split = [name.split(".") for name in names.values()]
    shared = len(os.path.commonprefix(split))
    members = any(name[shared].isdigit() for name in split if len(name) > shared)
    return max(1, shared + (not members))


def choose(fits: list[Fit], tensors: Tensors, *, without_counters: bool) -> Fit | None:
    """The complete fit, if there is one; of several, that which was trained and not its average.

    Args:
        fits: to choose from.
        tensors: of the file.
        without_counters: BatchNorm's counters may be missing.

    Raises:
        WeightsError: the file is of a larger network, or of several complete sets none is the one.
    """
    whole = [fit for fit in fits if fit.lacks_only_counters and (without_counters or not fit.missing)]
    right = [fit for fit in whole if not fit.larger]
    if not right:
        if whole:
            raise WeightsError(
                f"the file contains a larger network: all {len(whole[0].keys)} tensors match, "
                f"but it also has {some(whole[0].larger)}"
            )
        return None
    best = [fit for fit in right if not fit.moves_slowly] or right
    for other in best[1:]:
        if not all(_same(tensors[best[0].keys[name]], tensors[key]) for name, key in other.keys.items()):
            raise WeightsError(
                f"the file contains several candidate networks: under {best[0].prefix!r} and {other.prefix!r}",
                next=f"load_backbone(path, backbone, prefix={best[0].prefix!r})",
            )
    return best[0]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
