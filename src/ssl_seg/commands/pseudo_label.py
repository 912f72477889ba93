"""`ssl-seg pseudo-label`: confident predictions as labels to train on."""

from pathlib import Path
from typing import Annotated, Any

from ssl_seg.commands import flags, training_flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.utils.progress import echo
from ssl_seg.utils.text import shown
from ssl_seg.workflows.flag_values import OF_IMAGES, device_of, read_options
from ssl_seg.workflows.run_result import PseudoLabels


@from_python
def pseudo_label(
    run: flags.RunOrFile,
    images: flags.Images,
    out: Annotated[Path, flags.output_flag(help="New folder of labels, for --extra of classify or segment.")],
    threshold: Annotated[float, flags.label_flag(help="Lowest confidence of a label, from 0 to 1.")] = 0.9,
    per_class_share: Annotated[
        float | None,
        flags.label_flag(
            metavar="SHARE",
            help="Also label the most confident share of the predictions of each class, so that rare classes get "
            "labels: 0.2.",
            show_default="off",
        ),
    ] = None,
    image_folder: flags.ImageFolder = None,
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    tta: flags.Tta = None,
    batch_size: flags.InferenceBatchSize = None,
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    precision: flags.Precision = "auto",
    device: flags.Device = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    config: training_flags.Config = None,
    progress: flags.Progress = True,
) -> PseudoLabels:
    """Label images with a model's confident predictions.

    The folder is read by --extra of `ssl-seg classify` and `ssl-seg segment`. Classification: train.csv lists the
    labeled images. Segmentation: train/ has images and masks, with 255 where no class is confident enough.
    Confidences are calibrated if the run was validated. Nothing is overwritten. It may be a stage of a study.
    """
    from ssl_seg.engine.class_thresholds import Thresholds
    from ssl_seg.workflows.inference import InferenceSession
    from ssl_seg.workflows.mask_prediction import SlidingWindow
    from ssl_seg.workflows.pseudo_labels import pseudo_label as write_labels
    from ssl_seg.workflows.temperature import use_recorded_temperature

    session_flags: dict[str, Any] = {
        "precision": precision,
        "device": device_of(device, cpu),
        "cache": cache,
        "bad_images": bad_images,
        "tta": tta,
        "batch_size": batch_size,
    }
    window, rule = SlidingWindow(tile, overlap), Thresholds(threshold, per_class_share)
    options = read_options(option or [], OF_IMAGES, image_folder)
    with InferenceSession(run, which, backbone, head, None, options, **session_flags) as session:
        session.require_head()
        use_recorded_temperature(session)
        task = session.loaded.metadata["task"]
        labels = write_labels(session, images, out, window, rule)
    echo(*_table(labels, "pixels" if task == "segment" else "images"))
    if lacking := [
        name if each["predicted"] else f"{name} (never predicted)"
        for name, each in labels.classes.items()
        if not each["labeled"]
    ]:
        echo(f"no label: {', '.join(lacking)}" + ("" if per_class_share else "; see --per-class-share"))
    echo(f"{labels.count} of {labels.images} images labeled: {out}")
    echo(f"next: ssl-seg {task} TRAIN --val VAL --extra {out}")
    return labels


def _table(labels: PseudoLabels, unit: str) -> list[str]:
    """How many images or pixels of each class were predicted and labeled."""
    sums = {
        key: max(1, sum(each[key] for each in labels.classes.values())) for key in ("predicted", "labeled")
    }
    width = max(map(len, map(shown, [*labels.classes, "class"])))
    lines = [f"{'class':{width}}  {f'predicted {unit}':>24}  {f'labeled {unit}':>24}  threshold"]
    for name, each in labels.classes.items():
        cells = [f"{each[key]:,.0f} ({each[key] / sums[key]:6.1%})" for key in sums]
        lines.append(f"{shown(name):{width}}  {cells[0]:>24}  {cells[1]:>24}  {each['threshold']:9.4f}")
    return lines
