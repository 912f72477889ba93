"""Measuring predicted masks against true ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.log import log
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.mask_metadata import (
    check_classes,
    mask_names,
    metadata_of_masks,
    palette_of,
    print_classes,
)
from ssl_seg.workflows.mask_prediction import SlidingWindow, predicted_masks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.data.mask_files import MaskReader
    from ssl_seg.registry import Registry
    from ssl_seg.workflows.inference import InferenceSession

_SHOWN = 5


_LARGER = 1.5  # than the crops of training: such images are measured in tiles, too


def evaluate_model(session: "InferenceSession", data: str, window: SlidingWindow) -> dict[str, Any]:
    """What a run's model achieves on images with masks, whole, and reduced if they were in the run.

    A network whose context is as large as its training crops may do worse on whole images than on tiles of that size.
    If the images are larger than the crops, `miou_in_tiles` has the mean IoU in tiles of `tile` pixels.
    """
    metadata = session.loaded.metadata
    dataset = session.dataset(data, masks=True, palette=palette_of(metadata))
    print_classes(dataset, data, session.progress.print_line)
    check_classes(dataset, dataset.classes, metadata["classes"], data)

    largest, crop = 0, int(metadata["image_size"])

    def predictions(window: SlidingWindow) -> Iterator["tuple[NDArray[np.uint8], int] | None"]:
        nonlocal largest
        for prediction in predicted_masks(session, dataset, range(len(dataset)), window):
            largest = max(largest, *(prediction.mask.shape if prediction else ()))
            yield (prediction.mask, prediction.side) if prediction else None
            session.advance(len(dataset))

    options = {"exclude": ",".join(metadata["exclude"]), **metadata.get("metric_options", {})}
    options |= session.options.get("metric", {})
    common = metadata["classes"], options, data
    numbers = _measure(session.plugins.registry, dataset, predictions(window), *common)
    if min(largest, window.tile) >= _LARGER * crop:
        tiles = SlidingWindow(crop, crop // 4)
        session.progress.print_line(f"again in tiles of {crop} px, the size of the training crops")
        session.restart()
        in_tiles = _measure(session.plugins.registry, dataset, predictions(tiles), *common, quiet=True)
        numbers |= {"tile": crop, "miou_in_tiles": in_tiles["miou"]}
    return numbers


def is_mask_folder(path: Path) -> bool:
    """Whether a folder holds predicted masks, and not a run."""
    from ssl_seg.data.decode import EXTENSIONS

    runs = ("run.toml", "model.safetensors", "backbone.safetensors", "checkpoints")
    if not path.is_dir() or any((path / name).exists() for name in runs):
        return False
    return any(file.suffix.lower() in EXTENSIONS for file in path.rglob("*"))


def evaluate_mask_folder(folder: Path, data: str, options: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What predicted masks are worth; each is named as the mask it is held against.

    A colour that the palette does not have is wrong wherever it stands.

    Raises:
        DataError: a mask is missing, cannot be read, or has another size than the true one.
    """
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.progress import ProgressDisplay
    from ssl_seg.workflows.data import open_dataset

    registry = load_plugins().registry
    data_options = options.get("data", {})  # a person has typed the name
    dataset = open_dataset(registry, TypedName(data), split="val", masks=True, options=data_options)
    metadata = metadata_of_masks(dataset)
    files = [folder / name for name in mask_names(dataset, range(len(dataset)), metadata)]
    georeferenced = [file.with_suffix(".tif") for file in files]  # as `predict` writes those of GeoTIFFs
    files = [tiff if tiff.is_file() else file for file, tiff in zip(files, georeferenced, strict=True)]
    if faults := [(str(file), "no such file") for file in files if not file.is_file()]:
        what = f"{len(faults)} of {len(files)} masks are not in {folder}"
        where = ", ".join(Path(file).name for file, _ in faults[:_SHOWN])
        raise DataError(what, where=where, next=f"ssl-seg predict RUN {data} --out {folder}", faults=faults)
    reader = _reader(dataset, files, metadata)

    def predictions() -> Iterator["tuple[NDArray[np.uint8], int]"]:
        for file in files:
            try:
                yield reader.read(file), WHOLE
            except ValueError as error:
                raise DataError(f"cannot use {file}: {error}") from error

    metric_options = {"exclude": ",".join(metadata["exclude"]), **options.get("metric", {})}
    with ProgressDisplay() as progress:
        print_classes(dataset, data, progress.print_line)
        return _measure(registry, dataset, predictions(), list(dataset.classes), metric_options, data)


def _reader(dataset: "Dataset", files: list[Path], metadata: dict[str, Any]) -> "MaskReader":
    """How predicted masks are read: by the true masks' palette, as colours or as indices of classes, not as their ids."""
    from dataclasses import replace

    from ssl_seg.data.index_masks import check_class_indices
    from ssl_seg.data.mask_census import sample, value_census
    from ssl_seg.data.mask_coding import detect_encoding
    from ssl_seg.data.palettes import UNKNOWN_CLASS, Palette

    own = getattr(dataset, "reader", None)
    colors = tuple((red, green, blue) for red, green, blue in metadata["colours"])
    palette = own.palette if own else Palette(tuple(dataset.classes), colors)
    bits, has_ids = own.threshold_channels if own else False, bool(palette.values)
    palette = replace(palette, values=(), void_values=()) if has_ids else palette
    reader, _ = detect_encoding(files, palette, bits=bits)
    if has_ids and reader.encoding == "indices":
        check_class_indices(len(palette.names), value_census(list(sample(files)), bits=bits))
    return replace(reader, unknown_class=UNKNOWN_CLASS)


def _measure(
    registry: "Registry",
    dataset: "Dataset",
    masks: Iterator["tuple[NDArray[np.uint8], int] | None"],
    classes: list[str],
    options: dict[str, Any],
    data: str,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """The metric's numbers on masks in the data set's order, and how many images they are of.

    Args:
        masks: predicted; None where there is none.
        options: of the metric.
        data: what they are compared with, for people.
        quiet: without warnings of what cannot be measured.
    """
    import numpy as np
    import torch

    from ssl_seg.data.mask_counts import MaskStatistics, check_measurable

    metric = registry.build("metrics", "mean_iou", classes, options=options)
    counts = MaskStatistics.of(classes, split_names(options["exclude"]))
    for index, each in enumerate(masks):
        if each is None:
            continue
        mask, side = each
        try:
            truth = dataset.mask(index, side)
        except ValueError as error:
            raise DataError(f"{dataset.samples[index][0]}: {error}") from error
        if truth.shape != mask.shape:
            name, (one, two) = dataset.samples[index][0], (mask.shape, truth.shape)
            raise DataError(
                f"the mask of {name} is {one[0]} x {one[1]} pixels, the true one {two[0]} x {two[1]}"
            )
        metric.update(torch.from_numpy(mask)[None], torch.from_numpy(truth)[None])
        counts.add(np.bincount(truth.ravel(), minlength=256))
    for warning in [] if quiet else check_measurable(counts, data):
        log.warning(warning)
    return {"images": counts.masks, "classes": classes, **metric.compute()}
