"""A trained backbone as one file that says what it is, and the strict hand-over of any other."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_seg.base import Backbone
from ssl_seg.errors import WeightsError
from ssl_seg.weights import model_file
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.header import MODEL, values_of
from ssl_seg.weights.key_matching import COUNTER, Fit, choose, find_fits, some
from ssl_seg.weights.readers import find_file, read_file, read_header
from ssl_seg.weights.state_dict import write_tensors

FORMAT = "ssl-seg backbone 1"
_OURS = (FORMAT, model_file.FORMAT)


@dataclass(frozen=True)
class Match:
    """What a hand-over has done; `str()` says it in one line.

    Attributes:
        matched: tensors of the backbone that came from the file.
        total: tensors of the backbone; the rest are counters of BatchNorm that old files lack.
        prefix: what stands before the backbone's names in the file.
        left_over: what else the file has after the prefix, as a rule a head.
        metadata: what the file says of itself, if it is one of ours.
    """

    matched: int
    total: int
    prefix: str
    left_over: list[str]
    metadata: dict[str, Any]

    def __str__(self) -> str:
        notes = [f"prefix {self.prefix!r}"] if self.prefix else []
        if self.matched < self.total:
            notes.append(f"the file has no {COUNTER}")
        text = f"matched {self.matched} of {self.total} tensors"
        text += f" ({', '.join(notes)})" if notes else ""
        return text + (f", unexpected: {some(self.left_over)}" if self.left_over else "")


def save_backbone(path: Path, backbone: Backbone, metadata: Mapping[str, Any]) -> None:
    """Write the weights, with `metadata` (name, options, image size, normalisation) in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
    """
    write_tensors(path, backbone.state_dict(), FORMAT, {**metadata, MARK: untrained_in(backbone)})


def read_metadata(path: Path) -> dict[str, Any]:
    """What the weights of a backbone or a model, or those in a folder, say of themselves; empty if not ours.

    Raises:
        WeightsError: there is no such file, or no weights in it.
    """
    file = find_file(path)
    return _metadata(read_header(file), file)


def load_backbone(path: Path, backbone: Backbone, prefix: str | None = None) -> Match:
    """Load weights into a backbone: every one of its tensors, or none.

    The names in the file may have any prefix, and the backbone's children may be numbered, as they
    are in a `Sequential` of them. Of several complete sets the one that was trained is taken, not its
    moving average. Other floating-point types become the backbone's.

    Args:
        path: a run's or a checkpoint's folder, a safetensors file, or a file of `torch.save`.
        backbone: gets the weights in place.
        prefix: takes the set of tensors whose names begin so, and no other.

    Raises:
        WeightsError: the file cannot be read, does not fit, is of a larger network, has several sets
            that differ, or holds numbers that are not finite. No tensor has moved.
    """
    file = find_file(path)
    tensors, header = read_file(file)
    metadata = _metadata(header, file)
    fits = find_fits(backbone, tensors)
    asked = fits
    if prefix is not None:
        prefix = prefix and prefix.removesuffix(".") + "."
        asked = [fit for fit in fits if fit.prefix == prefix]
    own: dict[str, Tensor] = backbone.state_dict()
    try:
        fit = choose(asked, tensors, without_counters=header.get("format") not in _OURS)
        if fit is None:
            raise _refusal(file, own, tensors, fits, prefix)
    except WeightsError as error:
        error.where, error.next = error.where or str(file), error.next or _advice(metadata)
        raise
    new = {name: tensors[key].to(own[name].dtype) for name, key in fit.keys.items()}
    for name, tensor in new.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError("the weights contain NaN or infinity", where=f"{file}: {fit.keys[name]}")
    backbone.load_state_dict({**own, **new})
    return Match(len(new), len(own), fit.prefix, fit.left_over, metadata)


def _metadata(header: Mapping[str, str], file: Path) -> dict[str, Any]:
    made = header.get("format", "")
    if made in _OURS:
        return values_of(header, file, () if made == FORMAT else MODEL)
    if made.startswith(FORMAT.rstrip("0123456789")):
        raise WeightsError(f"weights of format {made!r}, this version reads {FORMAT!r}", where=str(file))
    return {}


def _advice(metadata: Mapping[str, Any]) -> str:
    """With which flags the file fits, as far as it says so."""
    if "backbone" not in metadata:
        return "ssl-seg list backbones  # choose the architecture of the file"
    options = dict(metadata.get("options") or {})
    words = ["--backbone", str(metadata["backbone"])]
    for name, value in options.items():
        words += ["-o", f"backbone.{name}={value}"]
    return shlex.join(words)


def _refusal(
    file: Path, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], fits: list[Fit], prefix: str | None
) -> WeightsError:
    """How many tensors fit, where the names suggest that the right ones are, and what differs there."""
    nothing = Fit(prefix or "", {}, {}, list(own), list(tensors), [])
    fits = [fit for fit in fits if 10 * len({*fit.keys, *fit.unlike}) >= len(own)]  # fewer are chance
    likely = max(fits, key=_closeness, default=nothing)
    asked = [fit for fit in fits if fit.prefix == prefix]
    fit = likely if prefix is None else max(asked, key=_closeness, default=nothing)
    what = (
        f"matched {len(fit.keys)} of {len(own)} tensors: {len(fit.missing)} missing, "
        f"{len(fit.left_over)} unexpected, {len(fit.unlike)} with another shape"
    )
    if likely is not nothing and likely.prefix != (prefix or ""):
        what += f"; {len(likely.keys) + len(likely.unlike)} names match with prefix {likely.prefix!r}"
    differs = [
        f"{name} is {_kind(tensors[key])} in the file, {_kind(own[name])} in the network"
        for name, key in list(fit.unlike.items())[:3]
    ]
    if fit.missing:
        differs.append(f"not in the file: {some(fit.missing)}")
    if fit.left_over:
        differs.append(f"only in the file: {some(fit.left_over)}")
    return WeightsError(what, where=f"{file}: {'; '.join(differs)}")


def _closeness(fit: Fit) -> tuple[int, int, bool]:
    return len(fit.keys), len(fit.unlike), not fit.moves_slowly


def _kind(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "a scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
