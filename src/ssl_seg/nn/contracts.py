"""Contracts of components: a plugin that breaks one is an error at once, with its name.

The library's own components are checked by their tests.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import View
from ssl_seg.base import Backbone, Metric
from ssl_seg.utils.foreign import Owner, fenced, label, wrong


def made_by(
    owner: Owner,
    kind: str,
    factory: Callable[..., Any],
    positional: Sequence[Any],
    options: Mapping[str, Any],
) -> Any:
    """Call the factory of a plugin and check the result; of a module, also every later output.

    Args:
        owner: the plugin.
        kind: of the component, as in the registry.
        positional: arguments of the command; the third of a head is the number of classes.
        options: of the user.

    Raises:
        PluginError: the factory fails or returns something else; later, a module returns a wrong output.
    """
    with fenced(owner=owner):
        made = factory(*positional, **options)
        label(made, owner)
        _check(owner, kind, made, *positional[2:3])
        if kind == "backbones":
            made.summary = MethodType(_summary, made)  # of the object itself: copies have their own
            if getattr(made, "patch", 0):
                made.tokens = MethodType(_tokens, made)
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
    """Return the values of a metric.

    Raises:
        PluginError: `compute()` does not return numbers by name.
    """
    found = metric.compute()
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise wrong(metric, f"compute() returns {found!r:.99}; expected numbers by name") from error


def _method_trouble(made: Any) -> str:
    if not isinstance(made, nn.Module) or _lacks(made, "training_step", "after_step"):
        return f"the factory returns {_type(made)}; expected an SSLMethod"
    if not isinstance(getattr(made, "backbone", None), nn.Module):
        return "`backbone` is not an nn.Module"
    if not _all(View, getattr(made, "views", None)):
        return "`views` is not a list of View"
    return "" if isinstance(getattr(made, "recipe", None), Mapping) else "`recipe` is not a dict"


def _backbone_trouble(made: Any) -> str:
    if not isinstance(made, nn.Module):
        return f"the factory returns {_type(made)}; expected a Backbone"
    channels, strides = getattr(made, "channels", None), getattr(made, "strides", None)
    if not (_all(int, channels) and _all(int, strides) and len(channels) == len(strides)):  # type: ignore[arg-type]
        return "`channels` and `strides` must be integers, one per feature map"
    multiple = getattr(made, "side_multiple", 1)
    if not isinstance(multiple, int) or multiple < 1:
        return "`side_multiple` must be a positive integer"
    patch = made._modules.get(
        "patch", getattr(made, "patch", 0)
    )  # a layer of this name is hidden by the attribute
    if not isinstance(patch, int) or patch < 0:
        return "`patch` must be the side of a token's patch in pixels, or 0 without tokens"
    return ""


def _head_trouble(made: Any) -> str:
    return "" if isinstance(made, nn.Module) else f"the factory returns {_type(made)}; expected a Head"


def _metric_trouble(made: Any) -> str:
    missing = _lacks(made, "reset", "update", "compute")
    return f"the factory returns {_type(made)}; expected a Metric with {missing}()" if missing else ""


def _dataset_trouble(made: Any) -> str:
    needed = ("__len__", "identity", "image", "size", "origin", "file")
    missing = _lacks(made, *needed, *(("mask",) if getattr(made, "masks", False) else ()))
    if missing:
        return f"the factory returns {_type(made)}; expected a Dataset with {missing}()"
    names, samples = getattr(made, "classes", None), getattr(made, "samples", None)
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not all(isinstance(n, str) for n in names)
    ):
        return "`classes` is not a list of names"
    if not isinstance(samples, Sequence) or len(samples) != len(made):
        return "`samples` is not a list of len() entries"
    for sample in samples:
        if not (isinstance(sample, tuple | list) and len(sample) == 2 and isinstance(sample[0], str)):
            return f"`samples` must be pairs of path and target, got {sample!r}"
        if not (isinstance(sample[1], int) and -1 <= sample[1] < len(names)):
            return f"target of sample {sample!r} is not one of the {len(names)} classes"
    return ""


def _method_answer(module: nn.Module, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    if not isinstance(out, Mapping) or "loss" not in out:
        returned = f"a dict of {', '.join(map(repr, out))}" if isinstance(out, Mapping) else _type(out)
        return f"training_step returns {returned}; expected a dict with `loss`"
    for name, value in out.items():
        if not isinstance(value, Tensor):
            return f"training_step returns {_type(value)} as {name!r}; expected tensors"
    loss, embedding = out["loss"], out.get("embedding")
    if loss.ndim or not loss.is_floating_point():
        return f"training_step returns {_type(loss)} as `loss`; expected a scalar"
    if module.training and torch.is_grad_enabled() and not loss.requires_grad:
        return "training_step returns a `loss` without a gradient"
    if embedding is not None and embedding.ndim != 2:
        return f"training_step returns {_type(embedding)} as `embedding`; expected (images, dimensions)"
    return ""


def _backbone_answer(module: Any, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    must = f"expected a list of feature maps with {', '.join(map(str, module.channels))} channels"
    if not _all(Tensor, out) or len(out) != len(module.channels):
        return f"forward returns {_type(out)}; {must}"
    for each, channels in zip(out, module.channels, strict=True):
        if each.ndim != 4 or each.shape[1] != channels or not each.is_floating_point():
            return f"forward returns {_type(each)}; {must}"
    return ""


def _summary(backbone: Any, images: Tensor) -> Tensor:
    """Return a plugin backbone's vectors of images; the default ones of a module without `summary`."""
    found: Tensor = getattr(type(backbone), "summary", Backbone.summary)(backbone, images)
    return _of_shape(found, backbone, "summary", (len(images), backbone.channels[-1]))


def _tokens(backbone: Any, images: Tensor, **options: Any) -> Tensor:
    """Return the tokens of a plugin's transformer."""
    found: Tensor = type(backbone).tokens(backbone, images, **options)
    rows, columns = backbone.grid(*images.shape[-2:])
    patches = rows * columns if options.get("keep") is None else options["keep"].shape[1]
    return _of_shape(found, backbone, "tokens", (len(images), backbone.prefix + patches, backbone.width))


def _of_shape(found: Any, module: Any, function: str, shape: tuple[int, ...]) -> Tensor:
    if isinstance(found, Tensor) and tuple(found.shape) == shape and found.is_floating_point():
        return found
    raise wrong(module, f"{function} returns {_type(found)}; expected {shape}")


def _head_answer(module: nn.Module, inputs: tuple[Any, ...], out: Any, classes: int) -> str:
    features, size = inputs if len(inputs) == 2 else (inputs[0], ())
    batch = features[-1].shape[0]
    allowed = [(batch, classes), (batch, classes, *size)]
    if isinstance(out, Tensor) and tuple(out.shape) in allowed and out.is_floating_point():
        return ""
    return f"forward returns {_type(out)}; expected logits of shape {allowed[0]} or {allowed[1]}"


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
    """Return the first of these methods that is missing."""
    return next((name for name in names if not callable(getattr(made, name, None))), "")


def _all(kind: type, values: Any) -> bool:
    """Whether it is a non-empty list of one type."""
    known = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    return known and all(isinstance(value, kind) for value in values)


def _type(value: Any) -> str:
    """Describe a value: `NoneType`, `a float32 tensor (8, 3)`."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {tuple(value.shape)}"
    return type(value).__name__
