"""One ONNX file that ONNX Runtime runs as PyTorch runs the model."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone
from ssl_seg.errors import UsageError
from ssl_seg.exporting.base import ExportModel, check_difference, difference, unsupported
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import atomic_output
from ssl_seg.utils.extras import require

_TOLERANCE = 1e-4
_LARGEST = 1_900_000_000  # bytes; a file of protobuf ends at 2 GB
_KEPT = ("task", "backbone", "head", "range", "bands")
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


class _Features(nn.Module):
    """A backbone as a function of tensors: one vector for each image, and the deepest map."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.backbone.summary(images), self.backbone(images)[-1]  # ONNX Runtime computes it once


class _Logits(nn.Module):
    """A model under the same name of its input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.model(images),)


def to_onnx(source: ExportModel, path: Path) -> Exported:
    """Write one .onnx file: `sample_images` (B, 3, H, W), normalised, to the head's `logits`.

    Without a head its outputs are `features` (B, C), as `embed` gives them, and `map` (B, C, h, w), the deepest. The batch is of
    any size; so are images for logits of every pixel, where the network can be written down that way. The
    file's metadata hold normalisation, image size, classes and colours.

    ONNX Runtime runs the file on random images of several shapes before it is in its place.

    Args:
        source: any.
        path: must not exist.

    Raises:
        UsageError: a package is missing, the path does not end with .onnx, or the weights are larger than
            such a file can be.
        WeightsError: ONNX Runtime's outputs differ from PyTorch's by more than 1e-4.
        OutputInUseError, ResourceError: see `atomic_output`.
    """
    _check_request(source, path)
    graph = _Graph(source)
    notes: list[str] = []
    with atomic_output(path) as tmp_path:
        if source.metadata.get("task") == "segment":
            found, note = graph.write_free(tmp_path)
            notes += [note] if note else []
        else:
            found = graph.write(tmp_path, {0: "batch"}, [(source.image_size, source.image_size)])
    code = f"import onnxruntime\nsession = onnxruntime.InferenceSession({str(path)!r})"
    code += (
        f"\n{', '.join(graph.names)}{',' * (len(graph.names) == 1)} = session.run(None, {{'images': images}})"
    )
    return Exported(source.head is not None, found, code, notes)


def _check_request(source: ExportModel, path: Path) -> None:
    if path.suffix != ".onnx":
        raise UsageError(f"--to onnx: expected --out with suffix .onnx, got {path}")
    require("--to onnx", _NEEDED, "'ssl-seg[onnx]'")
    parts = [source.backbone] if source.head is None else [source.backbone, source.head]
    size = sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())
    if size > _LARGEST:
        raise UsageError(f"--to onnx: {size / 1e9:.1f} GB of weights exceed ONNX's 2 GB limit")


class _Graph:
    """A subject as a function of a tensor, and how it becomes a file."""

    def __init__(self, source: ExportModel) -> None:
        self.subject = source
        self.names = ["features", "map"] if source.model is None else ["logits"]
        self.module: nn.Module = _Features(source.backbone) if source.model is None else _Logits(source.model)
        self.module.eval()

    def write_free(self, path: Path) -> tuple[float, str]:
        """For images of any size, or else of multiples of the stride, or else of one size; and which, in words."""
        size, step = self.subject.image_size, max(self.subject.backbone.strides)
        size = -(-size // step) * step
        axes = {0: "batch", 2: "height", 3: "width"}
        try:
            found = self.write(path, axes, [(size, size), (size + step, size + 2 * step)])
        except Exception:  # torch.export and ONNX Runtime refuse in many ways what depends on the size
            path.unlink(missing_ok=True)
            return self.write(path, {0: "batch"}, [(size, size)]), f"fixed image size: {size} x {size} pixels"
        try:
            return max(found, self.compare(path, [(size + 7, size + 13)])), ""
        except Exception:  # likewise
            return found, f"image height and width must be multiples of {step} pixels"

    def write(self, path: Path, axes: dict[int, str], shapes: list[tuple[int, int]]) -> float:
        """Write the file and compare; `axes` are those of any length, `shapes` (H, W) of images to try."""
        with warnings.catch_warnings():
            # of the exporter's own parts about each other; nobody here can change them
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            with torch.no_grad():  # what the network itself raises is not lost among the exporter's words
                self.module(self.subject.sample_images(2, shapes[0]))
            try:
                program: Any = torch.onnx.export(
                    self.module,
                    (self.subject.sample_images(2, shapes[0]),),
                    input_names=["images"],
                    output_names=self.names,
                    dynamic_shapes={"images": axes},
                    dynamo=True,
                    verbose=False,
                )
            except Exception as error:  # it refuses in many ways
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                raise unsupported(
                    "onnx", f"PyTorch could not export the network: {reason}", "--to hub"
                ) from error
        program.model.metadata_props.update(file_metadata(self.subject))
        program.save(path)
        return self.compare(path, shapes)

    @torch.no_grad()
    def compare(self, path: Path, shapes: list[tuple[int, int]]) -> float:
        """The largest difference between ONNX Runtime and PyTorch, over shapes and several batch sizes."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it refuses is told here
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        worst = 0.0
        for count, shape in zip((1, 3, 2), shapes * 3, strict=False):
            images = self.subject.sample_images(count, shape)
            theirs = session.run(None, {"images": images.numpy()})
            for ours, other in zip(self.module(images), theirs, strict=True):
                worst = max(worst, difference(torch.from_numpy(other), ours))
        return check_difference(worst, _TOLERANCE, "ONNX Runtime")


def file_metadata(source: ExportModel) -> dict[str, str]:
    """What the file says of itself; lists as JSON."""
    known = source.metadata
    bands = f"bands {', '.join(map(str, known['bands']))}" if "bands" in known else "RGB"
    values: dict[str, Any] = {
        "input": f"{bands} in [0, 1], minus mean, divided by std",
        "mean": list(source.mean),
        "std": list(source.std),
        "image_size": source.image_size,
        "classes": list(source.classes),
        **{key: known[key] for key in (*_KEPT, "colours", "exclude") if key in known},
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
