"""Check at once that what a plugin made keeps the contract of its kind, before something else breaks.

The library's own components are held to it by their tests.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import View
from ssl_seg.base import Backbone, Metric
from ssl_seg.nn.token_backbone import TokenBackbone
from ssl_seg.utils.foreign import Owner, fenced, label, wrong


def made_by(
    owner: Owner,
    kind: str,
    factory: Callable[..., Any],
    positional: Sequence[Any],
    options: Mapping[str, Any],
) -> Any:
    """What a plugin's factory makes, held to its contract; of a network, every answer from now on.

    Args:
        owner: whose it is.
        kind: of the component, as in the registry.
        positional: by the command; of a head, the third is the number of classes.
        options: of the user.

    Raises:
        PluginError: the factory fails, what it makes is something else, or lacks something; later, a network
            gives what it must not.
    """
    with fenced(owner=owner):
        made = factory(*positional, **options)
        label(made, owner)
        _check(owner, kind, made, *positional[2:3])
        if kind == "backbones":
            made.summary = MethodType(_summary, made)  # of the object itself: copies have their own
        if isinstance(made, TokenBackbone):
            made.tokens = MethodType(_tokens, made)  # type: ignore[method-assign]
    return made


def _check(owner: Owner, kind: str, made: Any, classes: int = 0) -> None:
    if text := _TROUBLE[kind](made):
        raise wrong(made, text, owner)
    if kind not in _ANSWERS:
        return
    trouble_in = _ANSWERS[kind]

    def look(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        if torch._C._get_tracing_state() or torch.compiler.is_exporting():
            return
        if text := trouble_in(module, inputs, out, classes):
            raise wrong(module, text)

    made.register_forward_hook(look)


def numbers_of(metric: Metric) -> dict[str, float]:
    """What a metric says of all that it has seen.

    Raises:
        PluginError: these are no numbers by name.
    """
    found = metric.compute()
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise wrong(metric, f"compute() gives {found!r:.99}, and must give numbers by name") from error


def _method_trouble(made: Any) -> str:
    if not isinstance(made, nn.Module) or _lacks(made, "training_step", "after_step"):
        return f"it makes {_type(made)}, and no SSLMethod"
    if not isinstance(getattr(made, "backbone", None), nn.Module):
        return "its `backbone` is no module"
    if not _all(View, getattr(made, "views", None)):
        return "its `views` are no list of View"
    return "" if isinstance(getattr(made, "recipe", None), Mapping) else "its `recipe` is no dict"


def _backbone_trouble(made: Any) -> str:
    if not isinstance(made, nn.Module):
        return f"it makes {_type(made)}, and no Backbone"
    channels, strides = getattr(made, "channels", None), getattr(made, "strides", None)
    if not (_all(int, channels) and _all(int, strides) and len(channels) == len(strides)):  # type: ignore[arg-type]
        return "its `channels` and `strides` are no whole numbers, one for each of its maps"
    multiple = getattr(made, "side_multiple", 1)
    if not isinstance(multiple, int) or multiple < 1:
        return "its `side_multiple` is no whole number above 0"
    return ""


def _head_trouble(made: Any) -> str:
    return "" if isinstance(made, nn.Module) else f"it makes {_type(made)}, and no Head"


def _metric_trouble(made: Any) -> str:
    missing = _lacks(made, "reset", "update", "compute")
    return f"it makes {_type(made)}, and no Metric: it has no {missing}()" if missing else ""


def _dataset_trouble(made: Any) -> str:
    needed = ("__len__", "identity", "image", "size", "origin", "file")
    missing = _lacks(made, *needed, *(("mask",) if getattr(made, "masks", False) else ()))
    if missing:
        return f"it makes {_type(made)}, and no Dataset: it has no {missing}()"
    names, samples = getattr(made, "classes", None), getattr(made, "samples", None)
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not all(isinstance(n, str) for n in names)
    ):
        return "its `classes` are no list of names"
    if not isinstance(samples, Sequence) or len(samples) != len(made):
        return "its `samples` are no list, or not as many as its length"
    for sample in samples:
        if not (isinstance(sample, tuple | list) and len(sample) == 2 and isinstance(sample[0], str)):
            return f"its `samples` are no pairs of path and target: {sample!r}"
        if not (isinstance(sample[1], int) and -1 <= sample[1] < len(names)):
            return f"of its `samples`, {sample!r} has a target that is none of its {len(names)} classes"
    return ""


def _method_answer(module: nn.Module, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    if not isinstance(out, Mapping) or "loss" not in out:
        returned = f"a dict of {', '.join(map(repr, out))}" if isinstance(out, Mapping) else _type(out)
        return f"training_step gives {returned}, and must give a dict with `loss`"
    for name, value in out.items():
        if not isinstance(value, Tensor):
            return f"training_step gives {_type(value)} as {name!r}, and must give tensors"
    loss, embedding = out["loss"], out.get("embedding")
    if loss.ndim or not loss.is_floating_point():
        return f"training_step gives {_type(loss)} as `loss`, and must give one number"
    if module.training and torch.is_grad_enabled() and not loss.requires_grad:
        return "training_step gives a `loss` without a gradient: nothing would be learnt"
    if embedding is not None and embedding.ndim != 2:
        return f"training_step gives {_type(embedding)} as `embedding`, and must give (images, dimensions)"
    return ""


def _backbone_answer(module: Any, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    must = f"must give a list of maps with {', '.join(map(str, module.channels))} channels"
    if not _all(Tensor, out) or len(out) != len(module.channels):
        return f"forward gives {_type(out)}, and {must}"
    for each, channels in zip(out, module.channels, strict=True):
        if each.ndim != 4 or each.shape[1] != channels or not each.is_floating_point():
            return f"forward gives {_type(each)}, and {must}"
    return ""


def _summary(backbone: Any, images: Tensor) -> Tensor:
    """What a plugin's backbone gives as vectors of images; the usual ones of a module that has no such function."""
    found: Tensor = getattr(type(backbone), "summary", Backbone.summary)(backbone, images)
    return _of_shape(found, backbone, "summary", (len(images), backbone.channels[-1]))


def _tokens(backbone: Any, images: Tensor, **options: Any) -> Tensor:
    """What a plugin's transformer gives as tokens."""
    found: Tensor = type(backbone).tokens(backbone, images, **options)
    rows, columns = backbone.grid(*images.shape[-2:])
    patches = rows * columns if options.get("keep") is None else options["keep"].shape[1]
    return _of_shape(found, backbone, "tokens", (len(images), backbone.prefix + patches, backbone.width))


def _of_shape(found: Any, module: Any, function: str, shape: tuple[int, ...]) -> Tensor:
    if isinstance(found, Tensor) and tuple(found.shape) == shape and found.is_floating_point():
        return found
    raise wrong(module, f"{function} gives {_type(found)}, and must give {shape}")


def _head_answer(module: nn.Module, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    features, size = inputs if len(inputs) == 2 else (inputs[0], ())
    batch = features[-1].shape[0]
    allowed = [(batch, classes), (batch, classes, *size)]
    if isinstance(out, Tensor) and tuple(out.shape) in allowed and out.is_floating_point():
        return ""
    return f"forward gives {_type(out)}, and must give {allowed[0]} or {allowed[1]} logits"


_TROUBLE: dict[str, Callable[[Any], str]] = {
    "ssl": _method_trouble,
    "backbones": _backbone_trouble,
    "heads": _head_trouble,
    "metrics": _metric_trouble,
    "datasets": _dataset_trouble,
}
_ANSWERS: dict[str, Callable[[Any, tuple[Any, ...], Any, int], str]] = {
    "ssl": _method_answer,
    "backbones": _backbone_answer,
    "heads": _head_answer,
}


def _lacks(made: Any, *names: str) -> str:
    """The first of these methods that it does not have."""
    return next((name for name in names if not callable(getattr(made, name, None))), "")


def _all(kind: type, values: Any) -> bool:
    """Whether it is a list of one kind, and not empty."""
    known = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    return known and all(isinstance(value, kind) for value in values)


def _type(value: Any) -> str:
    """What it is, for people: `NoneType`, `a float32 tensor (8, 3)`."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {tuple(value.shape)}"
    return type(value).__name__
