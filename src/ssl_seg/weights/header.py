"""What the header of a weight file may say: the type and the range of every value that something is made of."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_seg.utils import limits
from ssl_seg.utils.code_names import FoundName
from ssl_seg.utils.toml import parse_json
from ssl_seg.weights.first_version import MARK, as_it_was
from ssl_seg.weights.readers import unusable

_SHOWN = 60
_MOST_BANDS = 4096

# keys without which no network, or no answer, can be made
MODEL = ("task", "backbone", "options", "head", "head_options", "classes", "image_size", "mean", "std")
_OF_MASKS = ("colours", "exclude", "image_suffix", "mask_suffix")


class _Rule(NamedTuple):
    """What a value must be: in words, and as a test of any JSON value."""

    words: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _whole(low: int, high: int) -> _Rule:
    return _Rule(f"a whole number from {low} to {high:,}", lambda v: type(v) is int and low <= v <= high)


def _per_channel(low: float, high: float) -> _Rule:
    def holds(value: Any) -> bool:
        return _is_list(value, lambda v: type(v) in (int, float) and low <= v <= high) and len(value) > 0

    return _Rule(f"a number from {low:g} to {high:g} for each channel", holds)


def _is_range(value: Any) -> bool:
    return _is_list(value, lambda v: _is_scalar(v) and type(v) in (int, float)) and _ascends(value)


def _ascends(value: list[float]) -> bool:
    """Pairs, of each the smaller one first."""
    return len(value) > 1 and len(value) % 2 == 0 and all(map(float.__lt__, *_ends(value)))


def _ends(value: list[float]) -> tuple[list[float], list[float]]:
    return [float(low) for low in value[::2]], [float(high) for high in value[1::2]]


def _are_bands(value: Any) -> bool:
    return bool(value) and _is_list(value, lambda v: type(v) is int and 1 <= v <= _MOST_BANDS)


def _is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _is_scalar(value: Any) -> bool:
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    )


def _are_options(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_scalar(v) or _is_list(v, _is_scalar) for v in value.values())


def _is_colour(value: Any) -> bool:
    return _is_list(value, lambda v: type(v) is int and 0 <= v <= 255) and len(value) == 3


def _is_affix(value: Any) -> bool:
    return isinstance(value, str) and not set(value) & set("/\\\0")


_TEXT = _Rule("a text", _is_text)
_OPTIONS = _Rule("a table of numbers and texts", _are_options)
_AFFIX = _Rule("a part of a file's name", _is_affix)
_NAMES = _Rule("a list of texts", lambda value: _is_list(value, lambda v: isinstance(v, str)))
_RULES = {
    "backbone": _TEXT,
    "options": _OPTIONS,
    "head": _TEXT,
    "head_options": _OPTIONS,
    "task": _Rule("classify or segment", lambda value: value in ("classify", "segment")),
    "classes": _Rule("a list of at least one text", lambda value: bool(value) and _NAMES.holds(value)),
    "image_size": _whole(1, limits.SIDE),
    "mean": _per_channel(-1e3, 1e3),
    "std": _per_channel(1e-6, 1e3),
    "canvas": _whole(1, limits.CANVAS),
    "precision": _Rule("bf16 or fp32", lambda value: value in ("bf16", "fp32")),
    "metric_options": _OPTIONS,
    "range": _Rule("two numbers, the smaller one first, or two for each band", _is_range),
    "bands": _Rule("a list of numbers of bands, from 1", _are_bands),
    "epoch": _whole(0, limits.COUNT),
    "epochs": _whole(0, limits.COUNT),
    "trained_by": _TEXT,
    "license": _TEXT,
    "colours": _Rule(
        "a list of colours, three whole numbers from 0 to 255", lambda v: _is_list(v, _is_colour)
    ),
    "exclude": _NAMES,
    MARK: _NAMES,
    **dict.fromkeys(("image_prefix", "image_suffix", "mask_prefix", "mask_suffix"), _AFFIX),
    "palette": _Rule("a text", lambda value: isinstance(value, str)),
}


def values_of(header: Mapping[str, str], file: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """What a file of ours says of itself, once all of it can be; keys that are not known here are kept.

    Args:
        header: texts of the file's header.
        file: for the error.
        needed: keys that must be there; `MODEL` for a backbone with a head.

    Raises:
        WeightsError: it is no JSON object, a key is missing, or a value has another type or range.
    """
    try:
        metadata = parse_json(header.get("about", ""))
    except ValueError as error:
        raise unusable(file, f"the header is corrupt ({error})") from error
    if not isinstance(metadata, dict):
        raise unusable(file, "the header is corrupt (not a JSON object)")
    check_values(metadata, file)
    for key in (*needed, *(_OF_MASKS if metadata.get("task") == "segment" else ())):
        if key not in metadata:
            raise unusable(file, f"the header lacks {key!r}")
    _check_classes(metadata, file)
    if MARK not in metadata and "backbone" in metadata:
        metadata["options"] = as_it_was(metadata["backbone"], metadata.get("options", {}))
    return metadata | _found(metadata, file)


def check_values(metadata: Mapping[str, Any], file: Path) -> None:
    """See that every value has the type and the range of its key.

    Raises:
        WeightsError: one has not.
    """
    for key, rule in _RULES.items():
        if key in metadata and not rule.holds(metadata[key]):
            raise _refused(file, key, metadata[key], rule.words)


def _found(metadata: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The names of parts and of their options, which remember where they were found."""
    names = {key: FoundName.of(metadata[key], file) for key in ("backbone", "head") if key in metadata}
    tables = {key: metadata[key] for key in ("options", "head_options", "metric_options") if key in metadata}
    return names | {
        key: {FoundName.of(name, file): value for name, value in table.items()}
        for key, table in tables.items()
    }


def _check_classes(metadata: Mapping[str, Any], file: Path) -> None:
    """Mean and deviation are of the same channels; colours and excluded names are those of the classes."""
    if {"mean", "std"} <= metadata.keys() and len(metadata["mean"]) != len(metadata["std"]):
        raise _refused(file, "mean", metadata["mean"], f"{len(metadata['std'])} numbers, as many as std")
    if "classes" not in metadata:
        return
    classes = metadata["classes"]
    if len(metadata.get("colours", classes)) != len(classes):
        raise _refused(file, "colours", metadata["colours"], f"one colour for each of {len(classes)} classes")
    if not set(metadata.get("exclude", ())) <= set(classes):
        raise _refused(file, "exclude", metadata["exclude"], "names of classes")


def _refused(file: Path, key: str, value: Any, words: str) -> Exception:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return unusable(file, f"invalid header value {key} = {shown}; expected {words}")
