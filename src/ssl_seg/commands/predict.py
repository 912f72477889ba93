"""`ssl-seg predict`: what a trained model says of images; `ssl-seg embed`: what it sees in them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.console import echo
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.outputs import refuse_taken

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.commands.reading import Reading

Images = Annotated[
    str, typer.Argument(metavar="IMAGES", help="A folder, a CSV with the column filename, or FORMAT:PATH.")
]


def predict(
    run: flags.RunOrFile,
    images: Images,
    out: Annotated[
        Path, typer.Option(help="CSV file with id,filename,label; of a segmentation run, a folder of masks.")
    ],
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    flips: flags.Flips = False,
    indices: Annotated[
        bool, typer.Option("--indices", help="Masks hold class indices instead of colours.")
    ] = False,
    overwrite: flags.Overwrite = False,
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
) -> None:
    """Label images with a trained classifier: a CSV file with one line for each, in their order.

    With a segmentation model: one mask for each, of its size, named NAME_mask.png. Images are never
    overwritten, and nothing is written outside --out.
    """
    from ssl_seg.commands.masks import Tiling, predict_masks
    from ssl_seg.commands.reading import Reading

    how: dict[str, Any] = {"precision": precision, "cpu": cpu, "cache": cache, "bad_images": bad_images}
    tiling = Tiling(tile, overlap, flips)
    options = defaults.read_options(option or [])
    with Reading(run, which, backbone, head, None, options, **how) as reading:
        if reading.trained.model is None:
            raise WeightsError(
                f"{run} has a backbone but no classifier", next=f"ssl-seg classify TRAIN --init {run}"
            )
        if reading.trained.about["task"] == "segment":
            count = predict_masks(reading, images, out, tiling, indices=indices, overwrite=overwrite)
            done = f"{count} masks: {out}"
        else:
            done = f"{_predict_labels(reading, images, out, overwrite)} labels: {out}"
    echo(done)


def _predict_labels(reading: "Reading", images: str, out: Path, overwrite: bool) -> int:
    """Write the label of every image; returns how many."""
    from ssl_seg.commands.judge import write_csv

    _check_out(out, ".csv")
    refuse_taken([out], reading.inputs(dataset := reading.dataset(images)), overwrite=overwrite)
    store = reading.store(dataset)
    said = reading.logits(store).argmax(dim=1).tolist()
    classes = reading.trained.about["classes"]
    ids = ids_of(dataset)
    rows = [
        [ids[row] if ids else str(row), dataset.samples[row][0], classes[guess]]
        for row, guess in zip(store.rows.tolist(), said, strict=True)
    ]
    write_csv(out, ["id", "filename", "label"], rows)
    return len(rows)


def embed(
    run: flags.RunOrFile,
    images: Images,
    out: Annotated[
        Path, typer.Option(help="NPZ file: features, filenames, and targets and classes if known.")
    ],
    which: flags.Which = "last",
    backbone: flags.ModelBackbone = None,
    head: flags.CodeOfHead = None,
    image_size: flags.ModelImageSize = None,
    overwrite: flags.Overwrite = False,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
) -> None:
    """Write the backbone's pooled features of images, one row for each, in their order."""
    from ssl_seg.commands.reading import Reading

    how: dict[str, Any] = {"precision": precision, "cpu": cpu, "cache": cache, "bad_images": bad_images}
    _check_out(out, ".npz")
    options = defaults.read_options(option or [])
    with Reading(run, which, backbone, head, image_size, options, **how) as reading:
        refuse_taken([out], reading.inputs(dataset := reading.dataset(images)), overwrite=overwrite)
        store = reading.store(dataset)
        features = reading.features(store).cpu().numpy()
    names = [dataset.samples[row][0] for row in store.rows.tolist()]
    _save_npz(
        out, features=features, filenames=names, targets=store.targets.numpy(), classes=list(store.classes)
    )
    echo(f"{len(names)} x {features.shape[1]} features: {out}")


def _check_out(out: Path, ending: str) -> None:
    if out.suffix.lower() != ending:
        raise UsageError(f"--out {out} must end in {ending}")
    if not out.parent.is_dir():
        raise UsageError(f"no such folder: {out.parent}", next=f"mkdir -p {out.parent}")


def ids_of(dataset: "Dataset") -> list[str]:
    """The id of each image, if they were named in a CSV file with the column `id`; its number where that is empty."""
    from ssl_seg.data.tables import read_table

    path = getattr(dataset, "path", None)
    if path is None:
        return []
    return [row.get("id") or str(number) for number, (_, row) in enumerate(read_table(Path(path)))]


def _save_npz(out: Path, **arrays: Any) -> None:
    import numpy as np

    from ssl_seg.utils.files import atomic_file

    with atomic_file(out) as file:
        np.savez_compressed(file, **arrays)
