"""What of a run is exported, and in which layout."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssl_seg.utils.progress import ProgressDisplay

if TYPE_CHECKING:
    from ssl_seg.exporting.base import ExportModel
    from ssl_seg.exporting.exported import Exported
    from ssl_seg.exporting.run_record import RunRecord


def subject_of(
    run: str, which: Literal["last", "best"], backbone: str | None, head: str | None
) -> "ExportModel":
    from ssl_seg.exporting.base import ExportModel
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg.weights.backbone_file import read_metadata
    from ssl_seg.weights.publishers import find_weights
    from ssl_seg.workflows.trained_model import open_model

    typed: dict[str, Any] = {
        part: TypedName(name) for part, name in (("backbone", backbone), ("head", head)) if name
    }
    with ProgressDisplay() as progress:
        progress.quiet = True
        loaded = open_model(run, load_plugins(), progress.print_line, which=which, **typed)
    metadata: dict[str, Any] = loaded.metadata or read_metadata(find_weights(run))
    return ExportModel(
        loaded.backbone,
        loaded.model.head if loaded.model else None,
        image_size=loaded.image_size,
        mean=loaded.normalization["mean"],
        std=loaded.normalization["std"],
        classes=metadata.get("classes", ()),
        metadata=metadata,
    )


def write_export(
    source: "ExportModel", to: str, out: Path, run: str, which: Literal["last", "best"], license: str
) -> "Exported":
    if to == "timm":
        from ssl_seg.exporting.timm import to_timm

        return to_timm(source, out)
    if to == "torchvision":
        from ssl_seg.exporting.torchvision import to_torchvision

        return to_torchvision(source, out)
    if to == "onnx":
        from ssl_seg.exporting.onnx import to_onnx

        return to_onnx(source, out)
    from ssl_seg.exporting.hub import to_hub

    return to_hub(source, out, record=_record(source, run, which), license=license)


def _record(source: "ExportModel", run: str, which: Literal["last", "best"]) -> "RunRecord":
    """What the run says of these weights: the numbers of a classifier are not its backbone's."""
    from ssl_seg.exporting.run_record import RunRecord, read_record
    from ssl_seg.weights.publishers import find_weights

    path = find_weights(run)
    if not isinstance(path, Path):  # no run
        return RunRecord(str(path))

    best = which == "best" or path.name == "best.safetensors"
    record = read_record(path if path.is_dir() else path.parent, "best" if best else "last")
    if source.head is None and record.measured_on == "val":
        return replace(record, numbers={})
    return record
