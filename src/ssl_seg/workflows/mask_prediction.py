"""What `predict` and `evaluate` do for segmentation: masks of whole images, and their measure."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ssl_seg.data.pair_names import core_of
from ssl_seg.errors import DataError, SslSegError, UsageError, counted
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.interrupt import told_as_stopped
from ssl_seg.utils.log import log
from ssl_seg.utils.outputs import output_path, output_paths, refuse_taken
from ssl_seg.utils.progress import typed
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.mask_metadata import about_masks, check_classes, mask_names, palette_of, tell_masks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.data.mask_files import MaskReader
    from ssl_seg.registry import Registry
    from ssl_seg.workflows.inference import Reading

_SHOWN = 5


@dataclass(frozen=True)
class Tiling:
    """How large images go through the network; see `sliding_window_logits`.

    Raises:
        UsageError: tiles that overlap by all of themselves.
    """

    tile: int
    overlap: int
    flips: bool

    def __post_init__(self) -> None:
        if self.overlap >= self.tile:
            raise UsageError(f"--overlap {self.overlap} must be less than --tile {self.tile}")


def predict_masks(
    reading: "Reading", images: str, out: Path, tiling: Tiling, *, indices: bool, overwrite: bool
) -> int:
    """Write the mask of every image below a folder, in the palette's colours or as indices; returns how many.

    Raises:
        UsageError: `out` is a file, two images would have the same mask, or see `output_path`.
        OccupiedError: there are such masks already, and not `overwrite`.
        DataError: an image cannot be read; masks that were written before stay.
    """
    import numpy as np

    from ssl_seg.data.mask_files import reduce_mask
    from ssl_seg.figures.masks import save_mask

    if out.is_file():
        raise UsageError(f"--out {out} is a file", next="name a folder: one mask is written for each image")
    about = reading.trained.about
    dataset = reading.dataset(images)
    rows = _without_masks([name for name, _ in dataset.samples], about)
    names = mask_names(dataset, rows, about)
    paths = output_paths(out, names, [dataset.samples[row][0] for row in rows])
    refuse_taken(paths, reading.inputs(dataset), overwrite=overwrite)
    colours = None if indices else np.array(about["colours"], dtype=np.uint8)
    written = 0
    try:
        with told_as_stopped():
            for name, row in zip(names, rows, strict=True):
                found = mask_of(reading, dataset, row, tiling)
                if found is not None:  # the path is asked for again: a link may be new
                    save_mask(output_path(out, name), reduce_mask(found[0], *dataset.size(row)), colours)
                    written += 1
                reading.tick(len(rows))
    except SslSegError as error:
        if there := sum(path.exists() for path in paths):
            error.kept = f"{counted(there, 'mask')} in {out}"
            error.next = f"{error.next} --overwrite" if error.next else typed("--overwrite")
        raise
    return written


def _without_masks(names: list[str], about: dict[str, Any]) -> list[int]:
    """Rows of the images; where masks lie beside them, these are told by their names and left out."""
    ends = [PurePath(name).stem for name in names]
    image, mask = ((about.get(f"{kind}_prefix", ""), about[f"{kind}_suffix"]) for kind in ("image", "mask"))
    wanted = [row for row, end in enumerate(ends) if any(image) and core_of(end, image) is not None]
    return wanted or [row for row, end in enumerate(ends) if not any(mask) or core_of(end, mask) is None]


def mask_of(
    reading: "Reading", dataset: "Dataset", row: int, tiling: Tiling
) -> "tuple[NDArray[np.uint8], int] | None":
    """The class of every pixel of an image, reduced as in the run; None if it cannot be read and that is allowed.

    Returns:
        (h, w) classes, and with what `dataset.mask` gives the true ones.

    Raises:
        DataError: the image cannot be read.
    """
    import numpy as np
    import torch

    from ssl_seg.data.canvases import reduced
    from ssl_seg.engine.sliding_window import sliding_window_logits

    trained = reading.trained
    assert trained.model is not None
    try:
        image, side = reduced(dataset, row, trained.canvas)
    except ValueError as error:
        trouble = f"cannot read {dataset.samples[row][0]}: {error}"
        if reading.bad_images == "skip":
            reading.console.say(f"left out: {trouble}")
            return None
        raise DataError(trouble, next="leave such images out: --bad-images skip") from error
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    how: dict[str, Any] = {"tile": tiling.tile, "overlap": tiling.overlap, "flip_tta": tiling.flips}
    for top, left, logits in sliding_window_logits(
        trained.model, pixels, reading.device, **how, **trained.how
    ):
        piece = logits.argmax(dim=0).byte().cpu().numpy()
        mask[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return mask, side


def measure_model(reading: "Reading", data: str, tiling: Tiling) -> dict[str, Any]:
    """What a run's model achieves on images with masks, whole, and reduced if they were in the run."""
    about = reading.trained.about
    dataset = reading.dataset(data, masks=True, palette=palette_of(about))
    tell_masks(dataset, data, reading.console.say)
    check_classes(dataset, dataset.classes, about["classes"], data)

    def said() -> Iterator["tuple[NDArray[np.uint8], int] | None"]:
        for row in range(len(dataset)):
            yield mask_of(reading, dataset, row, tiling)
            reading.tick(len(dataset))

    how = {"exclude": ",".join(about["exclude"]), **about.get("metric_options", {})}
    how |= reading.options.get("metric", {})
    return _measure(reading.plugins.registry, dataset, said(), about["classes"], how, data)


def is_mask_folder(path: Path) -> bool:
    """Whether a folder holds predicted masks, and not a run."""
    from ssl_seg.data.decode import EXTENSIONS

    runs = ("run.toml", "model.safetensors", "backbone.safetensors", "checkpoints")
    if not path.is_dir() or any((path / name).exists() for name in runs):
        return False
    return any(file.suffix.lower() in EXTENSIONS for file in path.rglob("*"))


def measure_masks(folder: Path, data: str, options: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What predicted masks are worth; each is named as the mask it is held against.

    A colour that the palette does not have is wrong wherever it stands.

    Raises:
        DataError: a mask is missing, cannot be read, or has another size than the true one.
    """
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.progress import Console
    from ssl_seg.workflows.data import open_dataset

    registry = load_plugins().registry
    how: dict[str, Any] = {"split": "val", "masks": True, "options": options.get("data", {})}
    dataset = open_dataset(registry, TypedName(data), **how)  # a person has typed it
    about = about_masks(dataset)
    files = [folder / name for name in mask_names(dataset, range(len(dataset)), about)]
    if faults := [(str(file), "no such file") for file in files if not file.is_file()]:
        what = f"{len(faults)} of {len(files)} masks are not in {folder}"
        where = ", ".join(Path(file).name for file, _ in faults[:_SHOWN])
        raise DataError(what, where=where, next=f"ssl-seg predict RUN {data} --out {folder}", faults=faults)
    reader = _reader(dataset, files, about)

    def said() -> Iterator["tuple[NDArray[np.uint8], int]"]:
        for file in files:
            try:
                yield reader.read(file), WHOLE
            except ValueError as error:
                raise DataError(f"cannot use {file}: {error}") from error

    how = {"exclude": ",".join(about["exclude"]), **options.get("metric", {})}
    with Console() as console:
        tell_masks(dataset, data, console.say)
        return _measure(registry, dataset, said(), list(dataset.classes), how, data)


def _reader(dataset: "Dataset", files: list[Path], about: dict[str, Any]) -> "MaskReader":
    """How predicted masks are read: by the true masks' palette, as colours or as indices."""
    from dataclasses import replace

    from ssl_seg.data.mask_coding import recognise
    from ssl_seg.data.palettes import STRAY, Palette

    own = getattr(dataset, "reader", None)
    colours = tuple((red, green, blue) for red, green, blue in about["colours"])
    palette = own.palette if own else Palette(tuple(dataset.classes), colours)
    found, _ = recognise(files, palette, bits=own.bits if own else False)
    return replace(found, stray=STRAY)


def _measure(
    registry: "Registry",
    dataset: "Dataset",
    said: Iterator["tuple[NDArray[np.uint8], int] | None"],
    classes: list[str],
    how: dict[str, Any],
    data: str,
) -> dict[str, Any]:
    """The metric's numbers on masks in the data set's order, and how many images they are of.

    Args:
        said: predicted masks; None where there is none.
        data: what they are held against, for people.
    """
    import numpy as np
    import torch

    from ssl_seg.data.mask_counts import MaskCount, check_measurable

    metric = registry.build("metrics", "mean_iou", classes, options=how)
    found = MaskCount.of(classes, names_in(how["exclude"]))
    for row, each in enumerate(said):
        if each is None:
            continue
        mask, side = each
        try:
            truth = dataset.mask(row, side)
        except ValueError as error:
            raise DataError(f"{dataset.samples[row][0]}: {error}") from error
        if truth.shape != mask.shape:
            name, (one, two) = dataset.samples[row][0], (mask.shape, truth.shape)
            raise DataError(
                f"the mask of {name} is {one[0]} x {one[1]} pixels, the true one {two[0]} x {two[1]}"
            )
        metric.update(torch.from_numpy(mask)[None], torch.from_numpy(truth)[None])
        found.add(np.bincount(truth.ravel(), minlength=256))
    for warning in check_measurable(found, data):
        log.warning(warning)
    return {"images": found.masks, "classes": classes, **metric.compute()}
