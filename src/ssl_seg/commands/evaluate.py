"""`ssl-seg evaluate`: how good is what was learnt, on labelled images."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.console import echo
from ssl_seg.errors import DataError, UsageError, counted
from ssl_seg.utils.toml import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.commands.masks import Tiling
    from ssl_seg.commands.reading import Reading

PROBES = ("knn", "logistic")
_HELD = 0.2  # of the bank, on which the logistic regression chooses its strength


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
) -> None:
    """Measure a model on images with labels or masks, or a backbone by what simple classifiers make of it.

    The probes are k nearest neighbours, and a logistic regression whose regularisation is chosen on a
    fifth of the images it learns from.
    """
    from ssl_seg.commands.masks import Tiling, is_mask_folder, measure_masks

    tiling = Tiling(tile, overlap, flips)
    chosen = tuple(probe.split(",")) if probe else ()
    if strange := set(chosen) - set(PROBES):
        raise UsageError(f"no probe {strange.pop()!r}", next=f"one of {', '.join(PROBES)}")
    how: dict[str, Any] = {"precision": precision, "cpu": cpu, "cache": cache, "bad_images": bad_images}
    options = defaults.read_options(option or [])
    _check_out(out)
    if is_mask_folder(Path(run).expanduser()):
        numbers = measure_masks(Path(run).expanduser(), data, options)
    else:
        named = (run, which, backbone, head, image_size, options)
        numbers = _measure(named, how, data, tiling, (bank, allow_overlap), chosen)
    _tell(numbers)
    if out:
        from ssl_seg.utils.files import replace_text

        replace_text(out, json.dumps({"run": run, "data": data, **numbers}, indent=1) + "\n")


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


def _measure(
    named: tuple[Any, ...],
    how: dict[str, Any],
    data: str,
    tiling: "Tiling",
    bank: tuple[str | None, bool],
    chosen: tuple[str, ...],
) -> dict[str, Any]:
    """What a run or a backbone achieves."""
    from ssl_seg.commands.masks import measure_model
    from ssl_seg.commands.reading import Reading

    with Reading(*named, **how) as reading:
        if reading.trained.model is None or chosen or bank[0]:
            return _probe(reading, data, *bank, chosen or PROBES)
        if reading.trained.about["task"] == "segment":
            return measure_model(reading, data, tiling)
        return _classify(reading, data)


def _tell(numbers: dict[str, Any]) -> None:
    """The numbers, for people; of classes with masks as a table."""
    if classes := numbers.pop("classes", None):
        from ssl_seg.commands.mask_classes import class_table

        echo(*class_table(classes, numbers))
    for name, value in numbers.items():
        if not (classes and "/" in name):
            echo(f"{name:<24}{value:.4f}" if isinstance(value, float) else f"{name:<24}{value}")


def _classify(reading: "Reading", data: str) -> dict[str, Any]:
    """What the run's own classifier achieves."""
    from ssl_seg.commands.labels import align

    dataset, store = reading.open(data, labelled=True)
    align(store, dataset, reading.trained.about["classes"], data)
    how = {**reading.trained.about.get("metric_options", {}), **reading.options.get("metric", {})}
    metric = reading.plugins.registry.build("metrics", "accuracy", store.classes, options=how)
    logits = reading.logits(store)
    metric.update(logits, store.targets.to(logits.device))
    return {"images": len(store), **metric.compute()}


def _probe(
    reading: "Reading", data: str, bank: str | None, allowed: bool, probes: tuple[str, ...]
) -> dict[str, Any]:
    """What simple classifiers achieve on the backbone's features."""
    from ssl_seg.commands.labels import align
    from ssl_seg.commands.overlap import refuse_overlap, tell_twins
    from ssl_seg.commands.probe import split_of
    from ssl_seg.data.label_checks import check_labels

    dataset, store = reading.open(data, labelled=True)
    others, known = reading.open(bank, labelled=True, split="train") if bank else (dataset, store)
    check_labels(known, others, bank or data)
    if bank:
        align(store, dataset, known.classes, data)
        said = f"images of {data} are also in {bank}"
        refuse_overlap((others, known), (dataset, store), allowed=allowed, said=said)
    classes: list[str] = known.classes
    features = reading.features(store)
    targets = store.targets.to(features.device)
    if bank:
        learn = reading.features(known), known.targets.to(features.device)
        ask = features, targets
    else:
        held = split_of(store.targets)
        tell_twins(store, held)
        held = held.to(features.device)
        learn, ask = (features[~held], targets[~held]), (features[held], targets[held])
    if not len(learn[1]):
        raise DataError(
            f"no class of {data} has two images: the probes have nothing to learn from", next="--train DATA"
        )
    numbers: dict[str, Any] = {"learnt from": len(learn[1]), "images": len(ask[1])}
    if "knn" in probes:
        numbers["knn"] = _knn(reading, classes, learn, ask)
    if "logistic" in probes:
        numbers |= _logistic(len(classes), learn, ask)
    return numbers


def _knn(
    reading: "Reading", classes: list[str], learn: tuple["Tensor", "Tensor"], ask: tuple["Tensor", "Tensor"]
) -> float:
    metric = reading.plugins.registry.build("metrics", "knn", classes, options=reading.options.get("probe"))
    metric.fill(*learn)
    metric.update(*ask)
    accuracy: float = metric.compute()["knn"]
    return accuracy


def _logistic(
    classes: int, learn: tuple["Tensor", "Tensor"], ask: tuple["Tensor", "Tensor"]
) -> dict[str, Any]:
    from ssl_seg.commands.probe import split_of
    from ssl_seg.engine.linear_probe import logistic_probe

    held = split_of(learn[1].cpu(), _HELD).to(learn[1].device)
    if held.all():
        raise DataError(
            f"{counted(len(held), 'image')}, one of each class, are too few for the logistic regression",
            next="--probe knn",
        )
    logits, strength = logistic_probe(*learn, ask[0], classes, held)
    right = (logits.argmax(dim=1) == ask[1]).double().mean().item()
    return {"logistic": right, "logistic strength": strength}
