"""Results of workflows: a finished run, predictions, pseudo-labels, embeddings, an export."""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ssl_seg.exporting.exported import Exported
from ssl_seg.results.scores import read_scores
from ssl_seg.utils.toml import read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from ssl_seg.base import Backbone, Model
    from ssl_seg.workflows.forecast import Forecast


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: run folder with weights, scores and figures.
        trained: the trained object of `pretrain` and `finetune`.
        forecast: of a dry run, which leaves no folder.
    """

    folder: Path
    trained: "nn.Module | None" = field(default=None, repr=False, compare=False)
    forecast: "Forecast | None" = field(default=None, repr=False, compare=False)

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        """One dictionary per epoch, as in `scores.jsonl`."""
        return read_scores(self.folder)

    @cached_property
    def result(self) -> dict[str, Any]:
        """Scores of the `last` and the `best` epoch and the `calibration`, as in `result.json`; empty without
        validation images.
        """
        path = self.folder / "result.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def backbone(self) -> "Backbone":
        """The trained backbone, on the CPU, in eval mode: images -> feature maps."""
        if self.trained is not None:
            return cast("Backbone", _copied(getattr(self.trained, "backbone", self.trained)))
        from ssl_seg.weights.load import load

        return cast("Backbone", load(self.folder / "backbone.safetensors")[0])

    @cached_property
    def model(self) -> "Model":
        """Backbone and head of the last epoch: images -> logits.

        Raises:
            WeightsError: the run pre-trained a backbone and has no head.
        """
        if hasattr(self.trained, "head"):
            return cast("Model", _copied(self.trained))
        from ssl_seg.weights.load import load

        return cast("Model", load(self.folder / "model.safetensors")[0])

    def __repr__(self) -> str:
        numbers = {
            name: value for name, value in (self.scores or [{}])[-1].items() if name.startswith(_SHOWN)
        }
        shown = "".join(
            f", {name}={value:.4g}" for name, value in numbers.items() if isinstance(value, float)
        )
        return f"{type(self).__name__}({str(self.folder)!r}{shown})"


def _copied(module: Any) -> Any:
    """On the CPU, in evaluation mode, with memory as a network has it that was just loaded."""
    import torch

    return copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()


_SHOWN = ("loss", "val_top1", "val_miou", "probe_knn")


@dataclass(frozen=True)
class Predictions:
    """Predicted labels or masks.

    Attributes:
        path: CSV file (classification) or folder of masks (segmentation).
        count: number of images.
        seconds: of reading the images, predicting and writing.
        temperature: what the logits were divided by before the confidences; 1 without a calibrated run.
        files: all files that were written.
    """

    path: Path
    count: int
    seconds: float = 0.0
    temperature: float = 1.0
    files: list[Path] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class PseudoLabels:
    """Confident predictions as labels.

    Attributes:
        path: folder that `--extra` of `classify` and `segment` reads.
        count: number of labeled images.
        images: number of images that were predicted.
        classes: by name: `predicted` and `labeled` images (segmentation: pixels) and the `threshold` of the class.
        temperature: what the logits were divided by before the confidences; 1 without a calibrated run.
    """

    path: Path
    count: int
    images: int
    classes: dict[str, dict[str, float]] = field(repr=False)
    temperature: float = 1.0


@dataclass(frozen=True)
class Embeddings:
    """Features of images.

    Attributes:
        path: NPZ file.
        features: (N, C) float32, pooled.
        filenames: filename of each row.
        targets: (N,) int64 indices into `classes`; all 0 without labels.
        classes: class names; empty without labels.
    """

    path: Path
    features: "NDArray[np.float32]" = field(repr=False)
    filenames: list[str] = field(repr=False)
    targets: "NDArray[np.int64]" = field(repr=False)
    classes: list[str] = field(repr=False)


@dataclass(frozen=True)
class Export(Exported):
    """A verified export for another library; see `Exported`.

    Attributes:
        path: file or folder.
    """

    path: Path
