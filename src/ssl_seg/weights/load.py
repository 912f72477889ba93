"""A trained network, opened again from what a run or an export has left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ssl_seg.base import Model
from ssl_seg.errors import WeightsError
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import Registry
from ssl_seg.weights import model_file
from ssl_seg.weights.backbone_file import FORMAT, load_backbone, read_about
from ssl_seg.weights.readers import find_file, read_header


def load(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network, on the CPU and in evaluation mode, and what its file says of it.

    Args:
        path: a run's folder, one of `ssl-seg export --to hub`, or a weight file of either.

    Returns:
        A `Model` (images (B, 3, H, W) -> logits), or a `Backbone` (-> feature maps) where there is no head;
        and `backbone`, `image_size`, `mean` and `std` of the normalisation, with a head also `classes`, ...

    Raises:
        WeightsError: nothing there, not written by this library, or it does not fit.
        PluginError: a part of the network is of a plugin that is not installed.
    """
    path = Path(path).expanduser()
    file = path / "model.safetensors"
    file = file if file.is_file() else find_file(path)
    registry = load_plugins().registry
    if read_header(file).get("format") == model_file.FORMAT:
        about = model_file.read_model_about(file)
        model = new_model(about, registry)
        model_file.load_model(file, model)
        return model.eval(), about
    about = read_about(file)
    if "backbone" not in about:
        raise WeightsError("the file does not say which network it is of", where=str(file))
    backbone = registry.build("backbones", about["backbone"], options=about.get("options"))
    load_backbone(file, backbone)
    return backbone.eval(), about


def new_model(about: Mapping[str, Any], registry: Registry) -> Model:
    """The model that a model file says it is, untrained."""
    backbone = registry.build("backbones", about["backbone"], options=about["options"])
    shape = backbone.channels, backbone.strides, len(about["classes"])
    head = registry.build("heads", about["head"], *shape, options=about["head_options"])
    return Model(backbone, head, excluded=excluded_in(about))


def excluded_in(about: Mapping[str, Any]) -> list[int]:
    """Indices of the classes that a model file says are never predicted; in old files, too."""
    names = set(about.get("exclude", ()))
    return [index for index, name in enumerate(about.get("classes", ())) if name in names]


def is_backbone(file: Path) -> bool:
    """Whether a file holds a backbone alone, as that of an exported folder may."""
    return read_header(file).get("format") == FORMAT
