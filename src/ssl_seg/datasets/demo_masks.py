"""The demo's painted scenes with the class of every pixel."""

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.datasets.demo import SCENES, DemoDataset, demo
from ssl_seg.hooks import hookimpl

# pale grey, and eight of the nine colours "muted" of Paul Tol, which the colour-blind tell apart
_COLOURS = [
    (221, 221, 221),
    (51, 34, 136),
    (204, 102, 119),
    (136, 204, 238),
    (221, 204, 119),
    (170, 68, 153),
    (136, 34, 85),
    (153, 153, 51),
    (17, 119, 51),
]


class DemoMaskDataset(Dataset):
    """The pictures of `demo`; in its mask the one thing in a picture has its class, all else is background.

    Args:
        split, count: see `DemoDataset`.

    Attributes:
        palette: (9, 3) uint8 colours of the classes.
        exclude: none of them.
    """

    masks = True

    def __init__(self, split: str, count: int) -> None:
        self._scenes = DemoDataset(split, count)
        self.classes = ["background", *SCENES]
        self.samples = [(name, -1) for name, _ in self._scenes.samples]
        self.palette = np.array(_COLOURS, dtype=np.uint8)
        self.exclude: list[str] = []

    def identity(self, index: int) -> str:
        """Changes with the picture and the way masks are made."""
        return f"{self._scenes.identity(index)} masks 1"

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        return self._scenes.image(index, canvas)

    def size(self, index: int) -> tuple[int, int]:
        return self._scenes.size(index)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w)."""
        _, thing = self._scenes.render_scene(index)
        side = min(canvas, *thing.shape)
        kind = np.uint8(1 + index % len(SCENES))
        return downsample_mask(thing * kind, side, side)


def demo_masks(root: str, split: str, *, count: int = 400) -> DemoMaskDataset:
    """`demo_masks`, or `demo_masks:COUNT` for another number of images than `count`."""
    return DemoMaskDataset(split, len(demo(root, split, count=count)))


@hookimpl
def datasets() -> dict[str, object]:
    return {"demo_masks": demo_masks}
