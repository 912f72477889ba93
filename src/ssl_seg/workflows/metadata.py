"""What the header of a weight file says of itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.workflows.data import options_of_run, pixels_in

if TYPE_CHECKING:
    from ssl_seg.base import Backbone
    from ssl_seg.workflows.config import FinetuneConfig, RunConfig


def save_backbone_of_run(
    folder: Path, backbone: "Backbone", config: "RunConfig", precision: str, **more: Any
) -> None:
    """Write `backbone.safetensors`; its header says what it is and how it wants its images.

    Args:
        precision: that the run computed in.
        more: `trained_by`, and `mean` and `std` where they are not ImageNet's.
    """
    from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
    from ssl_seg.weights.backbone_file import save_backbone

    metadata = {
        "backbone": config.backbone,
        "options": config.o.get("backbone", {}),
        "image_size": config.size,
        "canvas": config.canvas_size,
        "precision": precision,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "epochs": config.epochs,
        **pixels_in(options_of_run(config.o)),
    }
    save_backbone(folder / "backbone.safetensors", backbone, metadata | more)


def model_metadata(
    task: str,
    config: "FinetuneConfig",
    classes: list[str],
    precision: str,
    normalization: Mapping[str, Any],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """The header of a model file.

    Args:
        task: `classify` or `segment`.
        data: what else is to be said of the data, as the colours of masks.
    """
    return {
        "task": task,
        "backbone": config.backbone,
        "options": config.o.get("backbone", {}),
        "head": config.head,
        "head_options": config.o.get("head", {}),
        "classes": list(classes),
        "image_size": config.size,
        "canvas": config.canvas_size,
        "precision": precision,
        "metric_options": config.o.get("metric", {}),
        **normalization,
        **data,
        **pixels_in(options_of_run(config.o)),
    }
