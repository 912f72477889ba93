"""What of a run is exported, and in which layout."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssl_seg.utils.progress import Console

if TYPE_CHECKING:
    from ssl_seg.exporting.base import Subject
    from ssl_seg.exporting.exported import Exported
    from ssl_seg.exporting.run_record import Record


def subject_of(run: str, which: Literal["last", "best"], backbone: str | None, head: str | None) -> "Subject":
    from ssl_seg.exporting.base import Subject
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg.weights.backbone_file import read_about
    from ssl_seg.workflows.trained_model import open_trained

    typed: dict[str, Any] = {
        part: TypedName(name) for part, name in (("backbone", backbone), ("head", head)) if name
    }
    with Console() as console:
        console.quiet = True
        trained = open_trained(run, load_plugins(), console, which=which, **typed)
    about: dict[str, Any] = trained.about or read_about(Path(run).expanduser())
    return Subject(
        trained.backbone,
        trained.model.head if trained.model else None,
        size=trained.size,
        mean=trained.how["mean"],
        std=trained.how["std"],
        classes=about.get("classes", ()),
        about=about,
    )


def write_export(
    subject: "Subject", to: str, out: Path, run: str, which: Literal["last", "best"], license: str
) -> "Exported":
    if to == "timm":
        from ssl_seg.exporting.timm import to_timm

        return to_timm(subject, out)
    if to == "torchvision":
        from ssl_seg.exporting.torchvision import to_torchvision

        return to_torchvision(subject, out)
    if to == "onnx":
        from ssl_seg.exporting.onnx import to_onnx

        return to_onnx(subject, out)
    from ssl_seg.exporting.hub import to_hub

    return to_hub(subject, out, record=_record(subject, Path(run).expanduser(), which), license=license)


def _record(subject: "Subject", place: Path, which: Literal["last", "best"]) -> "Record":
    """What the run tells of these weights: the numbers of a classifier are not its backbone's."""
    from ssl_seg.exporting.run_record import read_record

    best = which == "best" or place.name == "best.safetensors"
    record = read_record(place if place.is_dir() else place.parent, "best" if best else "last")
    if subject.head is None and record.measured_on == "val":
        return replace(record, numbers={})
    return record
