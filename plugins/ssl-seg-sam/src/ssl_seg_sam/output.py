"""Pictures and arrays, written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.utils.files import atomic_file
from ssl_seg_sam.segments import Segment


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) image; missing folders are made.

    Raises:
        ResourceError: it cannot be written.
    """
    with atomic_file(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def write_npz(path: Path, index: NDArray[np.int32], segments: Sequence[Segment]) -> None:
    """Write `index` (H, W), and of each segment its `boxes`, `areas`, `scores` and `stability`.

    Raises:
        ResourceError: it cannot be written.
    """
    arrays: dict[str, Any] = {
        "index": index,
        "boxes": np.array([segment.box for segment in segments], dtype=np.int32).reshape(-1, 4),
        "areas": np.array([segment.area for segment in segments], dtype=np.int64),
        "scores": np.array([segment.score for segment in segments], dtype=np.float32),
        "stability": np.array([segment.stability for segment in segments], dtype=np.float32),
    }
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)
