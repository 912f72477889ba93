"""A finished run, opened again: what `evaluate`, `predict` and `embed` begin with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssl_seg.errors import WeightsError

if TYPE_CHECKING:
    from ssl_seg.base import Backbone, Model
    from ssl_seg.plugins import PluginManager
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg.weights.published import PublishedWeights


@dataclass(frozen=True)
class LoadedModel:
    """A model, or a backbone without a head, with all its weights.

    Attributes:
        backbone: on the CPU.
        model: None when there is no head.
        metadata: what the file says: `classes`, `task`, ...
        image_size: in pixels.
        normalization: `mean` and `std`.
        canvas: to what images are reduced before anything else, as in the run.
        precision: of the run, if it is stated.
        pixels: options of datasets with which images are read as they were in training: `range` and `bands`.
    """

    backbone: "Backbone"
    model: "Model | None"
    metadata: dict[str, Any]
    image_size: int
    normalization: dict[str, Any]
    canvas: int
    precision: str | None = None
    pixels: Mapping[str, str] = field(default_factory=dict)


def open_model(
    run: str,
    plugins: "PluginManager",
    print_line: Callable[[str], None],
    *,
    which: Literal["last", "best"] = "last",
    backbone: "TypedName | None" = None,
    head: "TypedName | None" = None,
    image_size: int | None = None,
) -> LoadedModel:
    """Read the model of a run; of a run or file without a head, the backbone.

    Args:
        run: a run's folder, a model file, or weights of a backbone, also published ones by name.
        which: the last epoch's model or the best one's.
        backbone, image_size: for weight files that do not say what they are.
        backbone, head: `file.py:Name`, for a run with such code.

    Raises:
        WeightsError: nothing there, it does not fit, or it asks for code that is not named here.
    """
    from ssl_seg.weights.load import is_backbone
    from ssl_seg.weights.published import PublishedWeights
    from ssl_seg.weights.publishers import find_weights

    path = find_weights(run)
    if isinstance(path, PublishedWeights):
        if path.timm_config is not None:
            return _backbone(path, plugins, print_line, backbone, image_size)
        path = path.fetch()
    name = {"last": "model.safetensors", "best": "best.safetensors"}[which]
    file = path / name if path.is_dir() else path
    if file.name in ("model.safetensors", "best.safetensors") and file.exists() and not is_backbone(file):
        return _model(file, plugins, backbone, head)
    if which == "best":
        raise WeightsError(f"{run} has no best epoch", next="--which last")
    if (path / "run.toml").exists() and not (path / "backbone.safetensors").exists():
        raise WeightsError(f"{run} is not finished", next=f"ssl-seg train --resume --out {run}")
    return _backbone(path, plugins, print_line, backbone, image_size)


def _model(
    file: Path, plugins: "PluginManager", backbone: "TypedName | None", head: "TypedName | None"
) -> LoadedModel:
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.weights.load import build_model
    from ssl_seg.weights.model_file import load_model, read_model_metadata
    from ssl_seg.workflows.data import pixel_options

    metadata = read_model_metadata(file)
    model = build_model(metadata, plugins.registry, file, backbone=backbone, head=head)
    load_model(file, model)
    normalization = {"mean": tuple(metadata["mean"]), "std": tuple(metadata["std"])}
    canvas = WHOLE if metadata["task"] == "segment" else 2 * metadata["image_size"]  # of version 0.1.0
    stated = metadata.get("canvas", canvas), metadata.get("precision"), pixel_options(metadata)
    return LoadedModel(model.backbone, model, metadata, metadata["image_size"], normalization, *stated)


def _backbone(
    path: "Path | PublishedWeights",
    plugins: "PluginManager",
    print_line: Callable[[str], None],
    name: "TypedName | None",
    image_size: int | None,
) -> LoadedModel:
    from ssl_seg.workflows.init_weights import resolve_init_weights

    init = resolve_init_weights(path, backbone=name, options={}, image_size=image_size, any_size=True)
    backbone = plugins.registry.build("backbones", init.backbone, options=init.options)
    init.load(backbone, print_line)
    stated = init.canvas or 2 * init.image_size, init.precision, init.pixels
    return LoadedModel(backbone, None, {}, init.image_size, init.normalization, *stated)
