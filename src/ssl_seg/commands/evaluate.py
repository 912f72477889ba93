"""`ssl-seg evaluate`: scores of a model or a backbone on labeled images."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import UsageError
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.progress import echo
from ssl_seg.utils.toml import read_json
from ssl_seg.workflows.evaluate import PROBES, measure, refuse_tta
from ssl_seg.workflows.flag_values import device_of, read_options

_Bank = Annotated[
    str | None,
    flags.data_flag(
        "--train",
        metavar="DATA",
        help="Labeled images to fit the probes on.",
        show_default="80% of DATA",
    ),
]
_Probes = Annotated[
    str | None,
    flags.inference_flag(
        help="Probes of the backbone: knn, logistic, or both, comma-separated.",
        show_default="both if RUN has no classifier",
    ),
]


@from_python
def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder, weight file, or folder of predicted masks.")
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Images with labels or masks.")],
    bank: _Bank = None,
    allow_overlap: flags.AllowOverlap = False,
    probe: _Probes = None,
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    tta: flags.Tta = None,
    flips: flags.Flips = False,
    backbone: flags.FileBackbone = None,
    head: flags.CodeOfHead = None,
    image_size: flags.FileImageSize = None,
    precision: flags.Precision = "auto",
    device: flags.Device = "auto",
    cpu: flags.Cpu = False,
    out: Annotated[Path | None, flags.output_flag(help="JSON file for the scores.")] = None,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> dict[str, Any]:
    """Evaluate a model on labeled images or masks.

    A run without a classifier is evaluated with probes of its backbone: k-NN and logistic regression. The
    L2 strength is selected on a held-out fifth of the probe's training images.
    """
    from ssl_seg.workflows.mask_evaluation import evaluate_mask_folder, is_mask_folder
    from ssl_seg.workflows.mask_prediction import SlidingWindow

    window = SlidingWindow(tile, overlap)
    chosen = tuple(probe.split(",")) if probe else ()
    if unknown := set(chosen) - set(PROBES):
        raise UsageError(f"unknown probe {unknown.pop()!r}", next=f"one of {', '.join(PROBES)}")
    session_flags: dict[str, Any] = {"precision": precision, "device": device_of(device, cpu), "cache": cache}
    session_flags |= {"bad_images": bad_images, "tta": flags.joined_tta(tta, flips)}
    options = read_options(option or [], ("data", "metric", "probe"))
    _check_out(out)
    path = find_run(run)
    if is_mask_folder(path):
        refuse_tta(session_flags["tta"])
        numbers = evaluate_mask_folder(path, data, options)
    else:
        named = (run, which, backbone, head, image_size, options)
        numbers = measure(named, session_flags, data, window, (bank, allow_overlap), chosen)
    classes = numbers.pop("classes", None)
    _print_scores(numbers, classes)
    if out:
        from ssl_seg.utils.files import atomic_write_text

        atomic_write_text(out, json.dumps({"run": run, "data": data, **numbers}, indent=1) + "\n")
    return numbers


def _check_out(out: Path | None) -> None:
    """Refuse to replace a file that is not an earlier result of `evaluate`.

    Raises:
        UsageError: it is another file.
    """
    if out is None or not os.path.lexists(out):
        return
    try:
        content = read_json(out)
    except (OSError, ValueError):
        content = {}
    if not content.keys() >= {"run", "data", "images"}:
        raise UsageError(f"--out {out} exists and contains no scores of `evaluate`", next="another --out")


def _print_scores(numbers: dict[str, Any], classes: list[str] | None) -> None:
    """Print the scores; those of classes with masks as a table."""
    if classes:
        from ssl_seg.workflows.mask_metadata import format_class_table

        echo(*format_class_table(classes, numbers))
    for name, value in numbers.items():
        if not (classes and "/" in name):
            echo(f"{name:<24}{value:.4f}" if isinstance(value, float) else f"{name:<24}{value}")
