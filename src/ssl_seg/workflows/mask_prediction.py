"""Predicting masks of whole images."""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ssl_seg.data.pair_names import core_of
from ssl_seg.errors import DataError, SslSegError, UsageError, pluralize
from ssl_seg.utils.interrupt import stopped_on_interrupt
from ssl_seg.utils.outputs import output_path, output_paths, refuse_taken
from ssl_seg.utils.progress import typed
from ssl_seg.workflows.mask_metadata import (
    mask_names,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.workflows.inference import InferenceSession


@dataclass(frozen=True)
class SlidingWindow:
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
    session: "InferenceSession",
    images: str,
    out: Path,
    window: SlidingWindow,
    *,
    as_indices: bool,
    overwrite: bool,
) -> int:
    """Write the mask of every image below a folder, in the palette's colours or as indices; returns how many.

    Raises:
        UsageError: `out` is a file, two images would have the same mask, or see `output_path`.
        OutputInUseError: there are such masks already, and not `overwrite`.
        DataError: an image cannot be read; masks that were written before stay.
    """
    import numpy as np

    from ssl_seg.data.mask_files import downsample_mask
    from ssl_seg.figures.masks import save_mask

    if out.is_file():
        raise UsageError(f"--out {out} is a file", next="name a folder: one mask is written for each image")
    metadata = session.loaded.metadata
    dataset = session.dataset(images)
    indices = _without_masks([name for name, _ in dataset.samples], metadata)
    names = mask_names(dataset, indices, metadata)
    paths = output_paths(out, names, [dataset.samples[index][0] for index in indices])
    refuse_taken(paths, session.inputs(dataset), overwrite=overwrite)
    colors = None if as_indices else np.array(metadata["colours"], dtype=np.uint8)
    written = 0
    try:
        with stopped_on_interrupt():
            for name, index in zip(names, indices, strict=True):
                prediction = predict_mask(session, dataset, index, window)
                if prediction is not None:  # the path is asked for again: a link may be new
                    save_mask(
                        output_path(out, name), downsample_mask(prediction[0], *dataset.size(index)), colors
                    )
                    written += 1
                session.advance(len(indices))
    except SslSegError as error:
        if there := sum(path.exists() for path in paths):
            error.kept = f"{pluralize(there, 'mask')} in {out}"
            error.next = f"{error.next} --overwrite" if error.next else typed("--overwrite")
        raise
    return written


def _without_masks(names: list[str], metadata: dict[str, Any]) -> list[int]:
    """Rows of the images; where masks lie beside them, these are told by their names and left out."""
    ends = [PurePath(name).stem for name in names]
    image, mask = (
        (metadata.get(f"{kind}_prefix", ""), metadata[f"{kind}_suffix"]) for kind in ("image", "mask")
    )
    paired = [index for index, end in enumerate(ends) if any(image) and core_of(end, image) is not None]
    return paired or [index for index, end in enumerate(ends) if not any(mask) or core_of(end, mask) is None]


def predict_mask(
    session: "InferenceSession", dataset: "Dataset", index: int, window: SlidingWindow
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

    loaded = session.loaded
    assert loaded.model is not None
    try:
        image, side = reduced(dataset, index, loaded.canvas)
    except ValueError as error:
        reason = f"cannot read {dataset.samples[index][0]}: {error}"
        if session.bad_images == "skip":
            session.progress.print_line(f"left out: {reason}")
            return None
        raise DataError(reason, next="leave such images out: --bad-images skip") from error
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    options: dict[str, Any] = {"tile": window.tile, "overlap": window.overlap, "flip_tta": window.flips}
    for top, left, logits in sliding_window_logits(
        loaded.model, pixels, session.device, **options, **loaded.normalization
    ):
        piece = logits.argmax(dim=0).byte().cpu().numpy()
        mask[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return mask, side
