"""`ssl-seg evaluate`: how good is what was learnt, on labelled images."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.config import read_options
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import UsageError
from ssl_seg.utils.progress import echo
from ssl_seg.utils.toml import read_json
from ssl_seg.workflows.evaluate import PROBES, measure


@from_python
def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, a weight file, or a folder of masks.")
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Images with labels or masks.")],
    bank: Annotated[
        str | None,
        typer.Option(
            "--train",
            metavar="DATA",
            help="Labelled images the probes learn from.",
            show_default="four fifths of DATA",
        ),
    ] = None,
    allow_overlap: flags.AllowOverlap = False,
    probe: Annotated[
        str | None,
        typer.Option(help="knn, logistic, or both: knn,logistic.", show_default="both, without a classifier"),
    ] = None,
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    flips: flags.Flips = False,
    backbone: flags.ModelBackbone = None,
    head: flags.CodeOfHead = None,
    image_size: flags.ModelImageSize = None,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> dict[str, Any]:
    """Measure a model on images with labels or masks, or a backbone by what simple classifiers make of it.

    The probes are k nearest neighbours, and a logistic regression whose regularisation is chosen on a
    fifth of the images it learns from.
    """
    from ssl_seg.workflows.mask_prediction import Tiling, is_mask_folder, measure_masks

    tiling = Tiling(tile, overlap, flips)
    chosen = tuple(probe.split(",")) if probe else ()
    if strange := set(chosen) - set(PROBES):
        raise UsageError(f"no probe {strange.pop()!r}", next=f"one of {', '.join(PROBES)}")
    how: dict[str, Any] = {"precision": precision, "cpu": cpu, "cache": cache, "bad_images": bad_images}
    options = read_options(option or [])
    _check_out(out)
    if is_mask_folder(Path(run).expanduser()):
        numbers = measure_masks(Path(run).expanduser(), data, options)
    else:
        named = (run, which, backbone, head, image_size, options)
        numbers = measure(named, how, data, tiling, (bank, allow_overlap), chosen)
    classes = numbers.pop("classes", None)
    _tell(numbers, classes)
    if out:
        from ssl_seg.utils.files import replace_text

        replace_text(out, json.dumps({"run": run, "data": data, **numbers}, indent=1) + "\n")
    return numbers


def _check_out(out: Path | None) -> None:
    """What is there may be replaced if it is the numbers of another time, and nothing else.

    Raises:
        UsageError: it is something else.
    """
    if out is None or not os.path.lexists(out):
        return
    try:
        found = read_json(out)
    except (OSError, ValueError):
        found = {}
    if not found.keys() >= {"run", "data", "images"}:
        raise UsageError(f"--out {out} is there, and holds no numbers of `evaluate`", next="another --out")


def _tell(numbers: dict[str, Any], classes: list[str] | None) -> None:
    """The numbers, for people; of classes with masks as a table."""
    if classes:
        from ssl_seg.workflows.mask_metadata import class_table

        echo(*class_table(classes, numbers))
    for name, value in numbers.items():
        if not (classes and "/" in name):
            echo(f"{name:<24}{value:.4f}" if isinstance(value, float) else f"{name:<24}{value}")
