"""A trained network, opened again from what a run or an export has left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ssl_seg.base import Model
from ssl_seg.errors import WeightsError
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import Registry
from ssl_seg.utils.code_names import TypedName, names_code, refuse_code, same_name
from ssl_seg.weights import model_file
from ssl_seg.weights.backbone_file import FORMAT, load_backbone, read_metadata
from ssl_seg.weights.published import PublishedWeights
from ssl_seg.weights.publishers import find_weights
from ssl_seg.weights.readers import read_header, resolve_weight_file


def load(
    path: str | Path, *, backbone: str | None = None, head: str | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, on the CPU and in evaluation mode, and what its file says of it.

    Args:
        path: a run's folder, one of `ssl-seg export --to hub`, a weight file of either, or the name of published
            weights, as `timm:resnet50.a1_in1k`.
        backbone, head: `file.py:Name`, where the network was made with such code: what a weight file names
            is never imported.

    Returns:
        A `Model` (images (B, 3, H, W) -> logits), or a `Backbone` (-> feature maps) where there is no head;
        and `backbone`, `image_size`, `mean` and `std` of the normalisation, with a head also `classes`, ...

    Raises:
        WeightsError: nothing there, not written by this library, it does not fit, or it asks for code.
        PluginError: a part of the network is of a plugin that is not installed.
    """
    weights, registry = find_weights(str(path)), load_plugins().registry
    if isinstance(weights, PublishedWeights) and weights.timm_config is not None:
        return _published(weights, registry)
    path = weights.fetch() if isinstance(weights, PublishedWeights) else weights
    file = path / "model.safetensors"
    file = file if file.is_file() else resolve_weight_file(path)
    if read_header(file).get("format") == model_file.FORMAT:
        metadata = model_file.read_model_metadata(file)
        model = build_model(metadata, registry, file, backbone=_typed(backbone), head=_typed(head))
        model_file.load_model(file, model)
        return model.eval(), metadata
    metadata = read_metadata(file)
    if "backbone" not in metadata:
        raise WeightsError("the file does not name its network", where=str(file))
    name = chosen("backbones", metadata["backbone"], _typed(backbone), file)
    made = registry.build("backbones", name, options=metadata.get("options"))
    load_backbone(file, made)
    return made.eval(), metadata


def _published(weights: PublishedWeights, registry: Registry) -> tuple[nn.Module, dict[str, Any]]:
    """A backbone with weights that others have published, and what they say of it."""
    metadata = dict(weights.metadata)
    name = metadata["backbone"]
    refuse_code(name, "backbones", getattr(name, "file", None))
    made = registry.build("backbones", name, options=metadata["options"])
    load_backbone(weights, made)
    return made.eval(), metadata


def _typed(name: str | None) -> TypedName | None:
    return None if name is None else TypedName(name)


def build_model(
    metadata: Mapping[str, Any],
    registry: Registry,
    file: Path,
    *,
    backbone: TypedName | None = None,
    head: TypedName | None = None,
) -> Model:
    """The model that a model file says it is, untrained.

    Args:
        metadata: what the file says.
        file: where that is read.
        backbone, head: see `chosen`.

    Raises:
        WeightsError: see `chosen`.
    """
    names = (
        chosen("backbones", metadata["backbone"], backbone, file),
        chosen("heads", metadata["head"], head, file),
    )
    body = registry.build("backbones", names[0], options=metadata["options"])
    shape = body.channels, body.strides, len(metadata["classes"])
    top = registry.build("heads", names[1], *shape, options=metadata["head_options"])
    return Model(body, top, excluded=excluded_in(metadata))


def chosen(kind: str, named: str, typed: TypedName | None, file: Path) -> str:
    """The name of a part: where the file asks for code, what a person has typed stands in for it.

    Raises:
        WeightsError: nobody has, or the file names another part than the person.
    """
    if typed is None:
        refuse_code(named, kind, file)
        return named
    if not (names_code(named) or same_name(named, typed)):
        part = kind.rstrip("s")
        raise WeightsError(f"its {part} is {named!r}, not {typed!r}", where=str(file), next=f"omit --{part}")
    return typed


def excluded_in(metadata: Mapping[str, Any]) -> list[int]:
    """Indices of the classes that a model file says are never predicted; in old files, too."""
    names = set(metadata.get("exclude", ()))
    return [index for index, name in enumerate(metadata.get("classes", ())) if name in names]


def is_backbone(file: Path) -> bool:
    """Whether a file holds a backbone alone, as that of an exported folder may."""
    return read_header(file).get("format") == FORMAT
