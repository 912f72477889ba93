"""A trained backbone as one file that says what it is, and the strict hand-over of any other."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_seg.base import Backbone
from ssl_seg.errors import WeightsError
from ssl_seg.nn.layers import in_chans_of
from ssl_seg.weights import model_file
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.header import MODEL, values_of
from ssl_seg.weights.input_layer import adapted_to, described
from ssl_seg.weights.key_matching import BN_COUNTER, KeyMatch, find_matches, preview, select_match
from ssl_seg.weights.published import PublishedWeights
from ssl_seg.weights.publishers import find_weights
from ssl_seg.weights.readers import read_header, read_tensors, resolve_weight_file
from ssl_seg.weights.state_dict import write_tensors

FORMAT = "ssl-seg backbone 1"
_OURS = (FORMAT, model_file.FORMAT)


@dataclass(frozen=True)
class LoadResult:
    """What a hand-over has done; `str()` says it in one line.

    Attributes:
        matched: tensors of the backbone that came from the file.
        num_tensors: tensors of the backbone; the rest are counters of BatchNorm that old files lack.
        prefix: what stands before the backbone's names in the file.
        unexpected_keys: what else the file has after the prefix, as a rule a head.
        metadata: what the file says of itself, if it is one of ours; of published weights, what is known.
        file: that was read.
        passed_over: prefixes of other sets of tensors that would fit.
        adapted: what was done with the first layer for images of other channels than three.
    """

    matched: int
    num_tensors: int
    prefix: str
    unexpected_keys: list[str]
    metadata: dict[str, Any]
    file: Path | None = None
    passed_over: Sequence[str] = ()
    adapted: str = ""

    def __str__(self) -> str:
        notes = [f"prefix {self.prefix!r}"] if self.prefix else []
        if self.matched < self.num_tensors:
            notes.append(f"the file has no {BN_COUNTER}")
        text = f"matched {self.matched} of {self.num_tensors} tensors"
        text += f" ({', '.join(notes)})" if notes else ""
        text += f", unexpected: {preview(self.unexpected_keys)}" if self.unexpected_keys else ""
        others = ", ".join(map(repr, self.passed_over))
        text += f", passed over: {others} (--prefix)" if others else ""
        return text + (f"; {self.adapted}" if self.adapted else "")


def save_backbone(path: Path, backbone: Backbone, metadata: Mapping[str, Any]) -> None:
    """Write the weights, with `metadata` (name, options, image size, normalisation) in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
    """
    write_tensors(path, backbone.state_dict(), FORMAT, {**metadata, MARK: untrained_in(backbone)})


def read_metadata(path: Path | PublishedWeights) -> dict[str, Any]:
    """What the weights of a backbone or a model, or those in a folder, say of themselves; empty if not ours.

    Raises:
        WeightsError: there is no such file, or no weights in it.
    """
    if isinstance(path, PublishedWeights):
        return dict(path.metadata)
    file = resolve_weight_file(path)
    return _metadata(read_header(file), file)


def load_backbone(
    path: str | Path | PublishedWeights, backbone: Backbone, prefix: str | None = None
) -> LoadResult:
    """Load weights into a backbone: every one of its tensors, or none.

    The names in the file may have any prefix, and the backbone's children may be numbered, as they
    are in a `Sequential` of them. Of several complete sets the one is taken that authors publish: the trained
    network, not its moving average, but `state_dict_ema`, `model_ema`, and the teacher of a student. Other
    floating-point types become the backbone's.

    Args:
        path: a run's or a checkpoint's folder, a safetensors file, a file of `torch.save`, or the name of
            published weights, as `timm:resnet50.a1_in1k`, which are downloaded if need be.
        backbone: gets the weights in place.
        prefix: takes the set of tensors whose names begin so, and no other.

    Raises:
        WeightsError: the file cannot be read, does not fit, is of a larger network, has several sets
            that differ, or holds numbers that are not finite. No tensor has moved.
        UsageError: no such weights are published.
    """
    file, tensors, header, metadata = _read(find_weights(path), backbone, raw=prefix is not None)
    own: dict[str, Tensor] = backbone.state_dict()
    adapted = ""
    if (channels := in_chans_of(backbone)) != 3:
        tensors, adapted = adapted_to(channels, own, tensors)
        if (
            not header and len(metadata.get("mean", ())) == 3
        ):  # published, and read by timm, which adapts them
            adapted = adapted or described(channels)
    matches = find_matches(backbone, tensors)
    asked = matches
    if prefix is not None:
        prefix = prefix and prefix.removesuffix(".") + "."
        asked = [match for match in matches if match.prefix == prefix]
    try:
        found = select_match(asked, tensors, without_counters=header.get("format") not in _OURS)
        if found is None:
            raise _mismatch_error(file, own, tensors, matches, prefix)
    except WeightsError as error:
        error.where = error.where or str(file)
        if not error.next:
            _name_network(error, metadata, tensors)
        raise
    match, passed_over = found
    new = {name: tensors[key].to(own[name].dtype) for name, key in match.keys.items()}
    for name, tensor in new.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError("the weights contain NaN or infinity", where=f"{file}: {match.keys[name]}")
    backbone.load_state_dict({**own, **new})
    known = match.prefix, match.unexpected_keys, metadata, file, passed_over, adapted
    return LoadResult(len(new), len(own), *known)


def _read(
    weights: Path | PublishedWeights, backbone: Backbone, *, raw: bool
) -> tuple[Path, dict[str, Tensor], dict[str, str], dict[str, Any]]:
    """The file, its tensors, the texts in its header, and what it says of itself."""
    if isinstance(weights, PublishedWeights):
        return *weights.read(None if raw else backbone), {}, dict(weights.metadata)
    file = resolve_weight_file(weights)
    tensors, header = read_tensors(file)
    return file, tensors, header, _metadata(header, file)


def _metadata(header: Mapping[str, str], file: Path) -> dict[str, Any]:
    made = header.get("format", "")
    if made in _OURS:
        return values_of(header, file, () if made == FORMAT else MODEL)
    if made.startswith(FORMAT.rstrip("0123456789")):
        raise WeightsError(f"weights of format {made!r}, this version reads {FORMAT!r}", where=str(file))
    return {}


def _name_network(error: WeightsError, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Say which network the weights are of, as far as they or their names say so."""
    from ssl_seg.weights.network_hint import network_like

    name = None if "backbone" in metadata else network_like(tensors)
    if name:
        error.what += f"; this looks like {name}"
        error.args = (error.what,)
    error.next = f"--backbone {name}" if name else _compatible_flags(metadata)


def _compatible_flags(metadata: Mapping[str, Any]) -> str:
    """With which flags the file fits, as far as it says so."""
    if "backbone" not in metadata:
        return "ssl-seg list backbones  # choose the architecture of the file"
    options = dict(metadata.get("options") or {})
    words = ["--backbone", str(metadata["backbone"])]
    for name, value in options.items():
        words += ["-o", f"backbone.{name}={value}"]
    return shlex.join(words)


def _mismatch_error(
    file: Path,
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    matches: list[KeyMatch],
    prefix: str | None,
) -> WeightsError:
    """How many tensors fit, where the names suggest that the right ones are, and what differs there."""
    nothing = KeyMatch(prefix or "", {}, {}, list(own), list(tensors), [])
    matches = [
        match for match in matches if 10 * len({*match.keys, *match.shape_mismatches}) >= len(own)
    ]  # fewer are chance
    likely = max(matches, key=_closeness, default=nothing)
    asked = [match for match in matches if match.prefix == prefix]
    match = likely if prefix is None else max(asked, key=_closeness, default=nothing)
    what = (
        f"matched {len(match.keys)} of {len(own)} tensors: {len(match.missing_keys)} missing, "
        f"{len(match.unexpected_keys)} unexpected, {len(match.shape_mismatches)} with another shape"
    )
    if likely is not nothing and likely.prefix != (prefix or ""):
        what += (
            f"; {len(likely.keys) + len(likely.shape_mismatches)} names match with prefix {likely.prefix!r}"
        )
    differs = [
        f"{name} is {_kind(tensors[key])} in the file, {_kind(own[name])} in the network"
        for name, key in list(match.shape_mismatches.items())[:3]
    ]
    if match.missing_keys:
        differs.append(f"not in the file: {preview(match.missing_keys)}")
    if match.unexpected_keys:
        differs.append(f"only in the file: {preview(match.unexpected_keys)}")
    return WeightsError(what, where=f"{file}: {'; '.join(differs)}")


def _closeness(match: KeyMatch) -> tuple[int, int, bool]:
    return len(match.keys), len(match.shape_mismatches), not match.is_ema_copy


def _kind(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "a scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
