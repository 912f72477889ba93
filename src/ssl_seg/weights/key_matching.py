"""Which tensors of a file are those of a network: all of them under one prefix, or none."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_seg.errors import WeightsError

BN_COUNTER = "num_batches_tracked"  # files from before PyTorch 0.4.1 have none; it only counts
# worked out from the network's size: saved by some versions of the libraries, not by others
_DERIVED = (BN_COUNTER, "relative_position_index", "relative_coords_table", "attn_mask")
_OF_TRAINING = re.compile("mask_token|decoder")  # tensors beside the parts that no feature comes from
_HEADS = {"classifier", "fc", "head", "heads"}  # a classifier may lie in a part that the network keeps
_PUBLISHED_AVERAGES = {"state_dict_ema", "model_ema"}  # timm reads them rather than what was trained
_COPIES = {"target", "momentum", "teacher", "ema", "swa", "key", "k", "shadow"}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class KeyMatch:
    """How a network fits what a file has under one prefix.

    Attributes:
        prefix: empty, or ends in a dot.
        keys: of the network's tensors that fit, the name in the file.
        shape_mismatches: the same of those that have another shape or kind there.
        missing_keys: the network's tensors that the file has not.
        unexpected_keys: what else is under the prefix, without it.
        extra_layers: of these, what belongs inside a part of the network, or beside its parts as `register_tokens`.
    """

    prefix: str
    keys: dict[str, str]
    shape_mismatches: dict[str, str]
    missing_keys: list[str]
    unexpected_keys: list[str]
    extra_layers: list[str]

    @property
    def only_bn_counters_missing(self) -> bool:
        """Whether all that is missing are BatchNorm's counters."""
        return (
            bool(self.keys)
            and not self.shape_mismatches
            and all(name.endswith(BN_COUNTER) for name in self.missing_keys)
        )

    @property
    def words(self) -> set[str]:
        """The words of the prefix."""
        return set(re.split(r"[._-]", self.prefix.lower()))

    @property
    def is_ema_copy(self) -> bool:
        """Whether the prefix speaks of a moving average of the network that was trained."""
        return not _COPIES.isdisjoint(self.words)

    def is_published(self, others: "list[KeyMatch]") -> bool:
        """Whether it is a moving average that authors publish: timm's `state_dict_ema`, or the teacher of a student."""
        if not _PUBLISHED_AVERAGES.isdisjoint(self.prefix.lower().split(".")):
            return True
        return "teacher" in self.words and any("student" in other.words for other in others)


def find_matches(module: nn.Module, tensors: Tensors) -> list[KeyMatch]:
    """One for every prefix after which a name of the module's comes, itself or by numbered children."""
    own: dict[str, Tensor] = module.state_dict()
    matches = []
    for names in ({name: name for name in own}, _numbered(module, own)):
        wanted = set(names.values())
        prefixes = {key[:start] for key in tensors for start in _starts(key) if key[start:] in wanted}
        idle = frozenset(getattr(module, "idle", ()))  # tensors that the network could have, and has not
        matches += [_match(prefix, names, own, tensors, idle) for prefix in sorted(prefixes, key=len)]
    return matches


def _starts(key: str) -> list[int]:
    """Where the components of a name begin."""
    return [0, *(position + 1 for position, letter in enumerate(key) if letter == ".")]


def _numbered(module: nn.Module, own: Tensors) -> dict[str, str]:
    """The names as in `nn.Sequential(*network.children())`: a child's place instead of its name."""
    first = {name.split(".")[0] for name in own}
    children = list(module.named_children())
    while len(children) == 1 and children[0][0] not in first:  # a wrapper that shows in no name
        children = list(children[0][1].named_children())
    positions = {name: str(position) for position, (name, _) in enumerate(children)}
    split = {name: name.partition(".") for name in own}
    return {name: positions.get(child, child) + dot + rest for name, (child, dot, rest) in split.items()}


def _match(
    prefix: str, names: Mapping[str, str], own: Tensors, tensors: Tensors, idle: frozenset[str]
) -> KeyMatch:
    there = {name: prefix + names[name] for name in own if prefix + names[name] in tensors}
    keys = {name: key for name, key in there.items() if _alike(own[name], tensors[key])}
    taken = set(there.values())
    unexpected_keys = [key[len(prefix) :] for key in tensors if key.startswith(prefix) and key not in taken]
    depth = _depth(names)
    parts = {tuple(name.split(".")[:depth]) for name in names.values()}
    return KeyMatch(
        prefix=prefix,
        keys=keys,
        shape_mismatches={name: key for name, key in there.items() if name not in keys},
        missing_keys=[name for name in own if name not in there],
        unexpected_keys=unexpected_keys,
        extra_layers=[
            name
            for name in unexpected_keys
            if name not in idle
            and (tuple(name.split(".")[:depth]) in parts or _is_parameter(name, tensors[prefix + name]))
            and _HEADS.isdisjoint(name.split("."))
            and not name.endswith(_DERIVED)
        ],
    )


def _is_parameter(name: str, tensor: Tensor) -> bool:
    """Whether it lies beside the parts of a network and may count: `register_tokens`, `dist_token`."""
    return "." not in name and tensor.ndim > 0 and not _OF_TRAINING.match(name)


def _alike(own: Tensor, theirs: Tensor) -> bool:
    """Whether the one can be copied into the other without a change of meaning; half precision can."""
    return (
        own.shape == theirs.shape
        and theirs.layout is torch.strided
        and theirs.device.type == "cpu"  # a meta tensor has no numbers
        and (theirs.is_floating_point() or not own.is_floating_point())
    )


def _depth(names: Mapping[str, str]) -> int:
    """How many components of a name say which part of the network it is in: one, unless all share it.

    The members of a list are no parts: a twentieth layer beside nineteen is not a head.
    """
    split = [name.split(".") for name in names.values()]
    shared = len(os.path.commonprefix(split))
    members = any(name[shared].isdigit() for name in split if len(name) > shared)
    return max(1, shared + (not members))


def select_match(
    matches: list[KeyMatch], tensors: Tensors, *, without_counters: bool
) -> tuple[KeyMatch, list[str]] | None:
    """The complete fit, if there is one, and the prefixes of others with other numbers.

    Of several the one is taken that authors publish: the trained network and not its average, but timm's
    `state_dict_ema` and `model_ema`, and the teacher of a student.

    Args:
        matches: to choose from.
        tensors: of the file.
        without_counters: BatchNorm's counters may be missing.

    Raises:
        WeightsError: the file is of a larger network, or of several complete sets none is the one.
    """
    whole = [
        match
        for match in matches
        if match.only_bn_counters_missing and (without_counters or not match.missing_keys)
    ]
    right = [match for match in whole if not match.extra_layers]
    if not right:
        if whole:
            raise WeightsError(
                f"the file contains a larger network: all {len(whole[0].keys)} tensors match, "
                f"but it also has {preview(whole[0].extra_layers)}"
            )
        return None
    published = [match for match in right if match.is_published(right)]
    best = published or [match for match in right if not match.is_ema_copy] or right
    others = [match for match in right if not _same_numbers(best[0], match, tensors)]
    for other in best[1:]:
        if other in others:
            raise WeightsError(
                f"the file contains several candidate networks: under {best[0].prefix!r} and {other.prefix!r}",
                next=f"--prefix {shlex.quote(best[0].prefix)}",
            )
    return best[0], list(dict.fromkeys(match.prefix for match in others))


def _same_numbers(one: KeyMatch, other: KeyMatch, tensors: Tensors) -> bool:
    return all(
        _same(tensors[one.keys[name]], tensors[key]) for name, key in other.keys.items() if name in one.keys
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def preview(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
