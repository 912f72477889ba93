"""What a method is given: the views of a batch, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_seg.augment import stateless_rng
from ssl_seg.errors import PluginError

NO_EPOCH = -1  # of views that stand for those of any batch
_METHOD = 0xFFFF  # in the place of a view's number: draws that are the method's own


class NotRecordableError(Exception):
    """A training step does something that a recording of it would not repeat; see `RecordedStep`."""


@dataclass(frozen=True)
class Geometry:
    """Which part of its image a view shows, for B images.

    Attributes:
        boxes: (B, 4) int64 top, left, height, width in pixels of the canvas.
        flips: (2, B) bool, up-down and left-right.
        turns: (B,) bool, height and width swapped after the flips.
    """

    boxes: Tensor
    flips: Tensor
    turns: Tensor

    def part(self, rows: slice | Tensor) -> "Geometry":
        """That of some of the images."""
        return Geometry(self.boxes[rows], self.flips[:, rows], self.turns[rows])


@dataclass(frozen=True)
class Source:
    """The images that views were made of.

    Attributes:
        sizes: (B, 2) int64 height and width of the picture inside each canvas.
        samples: (B,) int64 ids.
        seed, epoch: with the id they fix every draw.
        targets: (B,) int64 class indices, -1 without a label; None if nothing is known of labels.
    """

    sizes: Tensor
    samples: Tensor
    seed: int
    epoch: int
    targets: Tensor | None = None

    def part(self, rows: slice | Tensor) -> "Source":
        """That of some of the images."""
        targets = None if self.targets is None else self.targets[rows]
        return replace(self, sizes=self.sizes[rows], samples=self.samples[rows], targets=targets)


class Views(list[Tensor]):
    """One (B, 3, h, w) tensor for each view, and where they come from; a list like any other.

    Args:
        views: the tensors.
        geometries: of each view.
        source: the images.
        progress: () float tensor, the part of the run that is done before this step, in [0, 1).
    """

    def __init__(
        self,
        views: Sequence[Tensor],
        geometries: Sequence[Geometry],
        source: Source,
        progress: Tensor | None = None,
    ) -> None:
        super().__init__(views)
        self._geometries, self._source = list(geometries), source
        self.progress = torch.zeros(()) if progress is None else progress

    @property
    def boxes(self) -> Tensor:
        """(V, B, 4) float32 top, left, height, width of each view as shares of its image's height and width."""
        boxes = torch.stack([geometry.boxes for geometry in self._geometries])
        return boxes / self._source.sizes.repeat(1, 2).to(boxes.device)

    @property
    def flips(self) -> Tensor:
        """(V, 2, B) bool, up-down and left-right."""
        return torch.stack([geometry.flips for geometry in self._geometries])

    @property
    def turns(self) -> Tensor:
        """(V, B) bool, height and width swapped after the flips."""
        return torch.stack([geometry.turns for geometry in self._geometries])

    @property
    def sizes(self) -> Tensor:
        """(B, 2) int64 height and width of the images that views were cut from, in pixels of the canvas."""
        return self._source.sizes.to(self[0].device)

    @property
    def targets(self) -> Tensor | None:
        """(B,) int64 class indices on the device of the views, -1 without a label; None if nothing is known."""
        targets = self._source.targets
        return None if targets is None else targets.to(self[0].device)

    def cells(self, view: int, side: int) -> Tensor:
        """Where in its image the cells of a view's feature map lie.

        Args:
            view: its number.
            side: cells along each side of the map.

        Returns:
            (B, side, side, 2) float32 y and x of each cell's centre, as shares of the image's height and width.
        """
        box, flips = self.boxes[view], self.flips[view]
        steps = (torch.arange(side, device=box.device) + 0.5) / side
        along = [torch.where(flip[:, None], 1.0 - steps, steps) for flip in flips]
        y = (box[:, 0, None] + box[:, 2, None] * along[0])[:, :, None].expand(-1, -1, side)
        x = (box[:, 1, None] + box[:, 3, None] * along[1])[:, None, :].expand(-1, side, -1)
        centres = torch.stack([y, x], dim=3)
        turned = self.turns[view][:, None, None, None]
        return torch.where(turned, centres.transpose(1, 2), centres)

    def chance(self, slots: int) -> Tensor:
        """(slots, B) uniform numbers in [0, 1), functions of seed, epoch and image, as all draws of views are.

        So what a method draws depends neither on the batch nor on the number of processes, nor on a restart.
        """
        source = self._source
        if source.epoch == NO_EPOCH:
            raise NotRecordableError("it draws for each epoch anew (`Views.chance`)")
        drawn = stateless_rng.uniform(source.seed, source.epoch, _METHOD, source.samples, slots)
        return drawn.to(self[0].device)

    def tensors(self) -> list[Tensor]:
        """All that differs between batches but their epoch: views, geometries, source, progress."""
        geometries = [each for one in self._geometries for each in (one.boxes, one.flips, one.turns)]
        source, targets = self._source, self._source.targets
        rest = [source.sizes, source.samples, self.progress, *([] if targets is None else [targets])]
        return [*self, *geometries, *rest]

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Views":
        """Views of these tensors, in the order of `tensors`, and of no epoch."""
        remaining = iter(tensors)
        views = [next(remaining) for _ in self]
        geometries = [Geometry(next(remaining), next(remaining), next(remaining)) for _ in self._geometries]
        sizes, samples, progress, targets = (
            next(remaining),
            next(remaining),
            next(remaining),
            next(remaining, None),
        )
        return Views(
            views, geometries, Source(sizes, samples, self._source.seed, NO_EPOCH, targets), progress
        )

    def part(self, rows: slice | Tensor) -> "Views":
        """The views of some of the images, by their rows: `--accumulate` computes a batch in parts."""
        geometries = [geometry.part(rows) for geometry in self._geometries]
        return Views([view[rows] for view in self], geometries, self._source.part(rows), self.progress)

    def chunk(self, count: int) -> list["Views"]:
        """All images in so many parts of one size."""
        size = len(self[0]) // count
        return [self.part(slice(start, start + size)) for start in range(0, count * size, size)]

    def replaced(self, views: Sequence[Tensor]) -> "Views":
        """Other tensors of the same boxes and images: in another precision, say."""
        return Views(views, self._geometries, self._source, self.progress)

    def with_facts(self, *, targets: Tensor | None = None, progress: Tensor | None = None) -> "Views":
        """The same views, with labels and how far the run is."""
        source = replace(self._source, targets=self._source.targets if targets is None else targets)
        return Views(self, self._geometries, source, self.progress if progress is None else progress)


def require_views(views: list[Tensor], method: str) -> Views:
    """The views themselves, for a method that needs to know where they come from.

    Raises:
        PluginError: they are a plain list of tensors.
    """
    if isinstance(views, Views):
        return views
    raise PluginError(
        f"{method} needs views that know their boxes and images, as ssl_seg.augment.views.augment makes them"
    )
