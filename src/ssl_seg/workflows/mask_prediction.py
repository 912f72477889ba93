"""Predicting masks of whole images."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssl_seg.data.canvases import reduced
from ssl_seg.engine.calibration import normalized_entropy
from ssl_seg.engine.sliding_window import sliding_window_logits
from ssl_seg.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

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

    def __post_init__(self) -> None:
        if self.overlap >= self.tile:
            raise UsageError(f"--overlap {self.overlap} must be less than --tile {self.tile}")


@dataclass(frozen=True)
class MaskPrediction:
    """What a model says of an image, reduced as in the run.

    Attributes:
        image: (h, w, 3) uint8, as the network saw it.
        side: with what `dataset.mask` gives the true classes of these pixels.
        mask: (h, w) uint8, the class of every pixel.
        confidence: (h, w) float16, its probability.
        uncertainty: (h, w) uint8, the normalized entropy from 0 to 255.
        probabilities: (C, h, w) float16, of all classes.
    """

    image: "NDArray[np.uint8]"
    side: int
    mask: "NDArray[np.uint8]"
    confidence: "NDArray[np.float16] | None" = None
    uncertainty: "NDArray[np.uint8] | None" = None
    probabilities: "NDArray[np.float16] | None" = None


def predicted_masks(
    session: "InferenceSession",
    dataset: "Dataset",
    indices: Sequence[int],
    window: SlidingWindow,
    wanted: Collection[str] = (),
) -> Iterator[MaskPrediction | None]:
    """The predictions of images, in order; None where an image cannot be read and that is allowed.

    Args:
        wanted: attributes of `MaskPrediction` that are needed besides the mask.

    Raises:
        DataError: an image cannot be read.
    """
    group: list[tuple[NDArray[np.uint8], int]] = []
    for index in indices:
        found = _read(session, dataset, index)
        if group and (found is None or found[0].shape != group[0][0].shape):
            yield from _predict(session, group, window, wanted)
            group = []
        if found is None:
            yield None
            continue
        group.append(found)
        if len(group) == (session.batch_size or 1):
            yield from _predict(session, group, window, wanted)
            group = []
    if group:
        yield from _predict(session, group, window, wanted)


def _read(
    session: "InferenceSession", dataset: "Dataset", index: int
) -> "tuple[NDArray[np.uint8], int] | None":
    try:
        return reduced(dataset, index, session.loaded.canvas)
    except ValueError as error:
        reason = f"cannot read {dataset.samples[index][0]}: {error}"
        if session.bad_images == "skip":
            session.progress.print_line(f"left out: {reason}")
            return None
        raise DataError(reason, next="leave such images out: --bad-images skip") from error


def _predict(
    session: "InferenceSession",
    group: "list[tuple[NDArray[np.uint8], int]]",
    window: SlidingWindow,
    wanted: Collection[str],
) -> Iterator[MaskPrediction]:
    """The predictions of images of one size."""
    loaded = session.loaded
    assert loaded.model is not None
    pixels = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in group]))
    maps: dict[str, NDArray[np.generic]] = {}
    for top, left, logits in sliding_window_logits(
        loaded.model,
        pixels,
        session.device,
        tile=window.tile,
        overlap=window.overlap,
        passes=session.passes,
        temperature=session.temperature,
        **loaded.normalization,
    ):
        for name, piece in _maps(logits, wanted, session.num_predicted).items():
            values = piece.cpu().numpy()
            if name not in maps:
                maps[name] = np.zeros((*values.shape[:-2], *pixels.shape[-2:]), dtype=values.dtype)
            maps[name][..., top : top + values.shape[-2], left : left + values.shape[-1]] = values
    for number, (image, side) in enumerate(group):
        found = {name: values[number] for name, values in maps.items()}
        yield MaskPrediction(image, side, **found)


def _maps(logits: "Tensor", wanted: Collection[str], classes: int) -> "dict[str, Tensor]":
    """The maps of a piece: (B, h, w), of probabilities (B, C, h, w)."""
    maps = {"mask": logits.argmax(dim=1).byte()}
    probabilities = logits.softmax(dim=1) if wanted else logits
    if "confidence" in wanted:
        maps["confidence"] = probabilities.amax(dim=1).half()
    if "uncertainty" in wanted:
        maps["uncertainty"] = (255 * normalized_entropy(probabilities, classes)).round().clamp(0, 255).byte()
    if "probabilities" in wanted:
        maps["probabilities"] = probabilities.half()
    return maps
