"""Prompts: boxes and points as they are written on the command line, or taken from a predicted mask."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ssl_seg.errors import UsageError

MAX_REGIONS = 256  # regions of one mask
_SMALLEST = 1 / 2000  # of the image: smaller regions are specks


def read_prompts(texts: Sequence[str], flag: str) -> Tensor:
    """`["10,20", ...]` as (N, 2) for `--point`, `["10,20,60,80", ...]` as (N, 4) for `--box`.

    Raises:
        UsageError: not as many numbers, or a box without inside.
    """
    count, example = (4, "--box LEFT,TOP,RIGHT,BOTTOM") if flag == "--box" else (2, "--point X,Y")
    rows = []
    for text in texts:
        try:
            row = [float(word) for word in text.split(",")]
        except ValueError:
            row = []
        if len(row) != count or not np.isfinite(row).all():
            raise UsageError(f"{flag} {text!r}: expected {count} comma-separated numbers", next=example)
        if count == 4 and not (row[0] < row[2] and row[1] < row[3]):
            raise UsageError(
                f"{flag} {text!r} is empty: expected LEFT < RIGHT and TOP < BOTTOM", next=example
            )
        rows.append(row)
    return torch.tensor(rows).reshape(-1, count)


def check_prompts(prompts: Tensor, flag: str, name: str, height: int, width: int) -> None:
    """Prompts must lie in the image.

    Raises:
        UsageError: one does not.
    """
    limits = torch.tensor([width, height]).repeat(prompts.shape[1] // 2)
    for prompt in prompts.tolist():
        values = torch.tensor(prompt)
        if (values < 0).any() or (values > limits).any():
            text = ",".join(f"{value:g}" for value in prompt)
            raise UsageError(f"{flag} {text} is outside {name} ({width} x {height} pixels)")


def regions(mask: NDArray[np.uint8], left_out: Sequence[Sequence[int]] = ()) -> tuple[Tensor, Tensor]:
    """The connected regions of equal colour of a mask, the largest first.

    Pixels are connected by their sides. Regions of less than 1/2000 of the image are left out, and of
    more than 256 the smallest.

    Args:
        mask: (H, W, 3).
        left_out: RGB colours of classes that are nothing.

    Returns:
        (N, 4) boxes: left, top, right, bottom, and (N, 2) x, y of the pixel of each region that is
        farthest from its border.
    """
    channels = mask.astype(np.int64)
    codes = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    skipped = {red << 16 | green << 8 | blue for red, green, blue in left_out}
    components = []
    for code in np.unique(codes).tolist():
        if code in skipped:
            continue
        labels, _ = ndimage.label(codes == code)
        areas = np.bincount(labels.ravel())
        for number, slices in enumerate(ndimage.find_objects(labels), start=1):
            if areas[number] >= max(1.0, _SMALLEST * codes.size):
                components.append((int(areas[number]), code, slices, labels[slices] == number))
    components.sort(key=lambda region: (-region[0], region[1], region[2][0].start, region[2][1].start))
    boxes, points = [], []
    for _, _, (rows, columns), inside in components[:MAX_REGIONS]:
        boxes.append([columns.start, rows.start, columns.stop, rows.stop])
        # the picture's side is a border too, so that the point is in the middle and not at an edge
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        points.append([columns.start + int(x), rows.start + int(y)])
    return (
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(points, dtype=torch.float32).reshape(-1, 2),
    )
