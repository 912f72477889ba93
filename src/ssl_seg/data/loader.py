"""Epochs of batches on the device, as a function of the step."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from ssl_seg.augment import stateless_rng as chance
from ssl_seg.data.image_cache import Store
from ssl_seg.errors import ResourceError, UsageError
from ssl_seg.utils.timeout import timeout_seconds

_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """Some images of one epoch.

    Attributes:
        images: (B, 3, H, W) uint8 canvases on the device; H and W differ between batches if pictures are
            longer than the store's canvas.
        sizes: (B, 2) int64 height and width of the pictures, on the CPU.
        samples: (B,) int64 rows of the store, on the CPU: what chance is a function of.
        targets: (B,) int64 class indices on the device, -1 without labels.
        epoch: from 0.
        masks: (B, H, W) uint8 classes of the pixels on the device, or None.
    """

    images: Tensor
    sizes: Tensor
    samples: Tensor
    targets: Tensor
    epoch: int
    masks: Tensor | None = None


class Order:
    """Which images each step sees: a new permutation every epoch, without a last incomplete batch.

    Args:
        count: how many images there are.
        size: of a batch, over all ranks.
        seed: of the order.
        rank, ranks: which part of each batch is this process's.

    Raises:
        UsageError: fewer images than one batch, or the batch cannot be divided among the ranks.
    """

    def __init__(self, count: int, size: int, seed: int, *, rank: int = 0, ranks: int = 1) -> None:
        if count < size:
            raise UsageError(
                f"fewer images ({count}) than the batch size ({size})",
                next=f"--batch-size {max(2, count // 2)}",
            )
        if size % ranks:
            raise UsageError(f"batch size {size} is not a multiple of {ranks} processes")
        self.count, self.size, self.seed, self.rank, self.ranks = count, size, seed, rank, ranks
        self.per_epoch = count // size

    def epoch(self, step: int) -> int:
        """The epoch of a step, both counted from 0."""
        return step // self.per_epoch

    def rows(self, step: int) -> Tensor:
        """(size / ranks,) int64 rows of the store that a step sees."""
        epoch, place = divmod(step, self.per_epoch)
        places = torch.arange(place * self.size, (place + 1) * self.size)
        return chance.permutation(self.seed, epoch, self.count, places)[self.rank :: self.ranks]


class Batches:
    """Shuffled batches of a store, in the order of `Order`.

    A store that fits in `share` of the free device memory is moved there whole. A larger one is
    read by a thread, some steps ahead, through pinned memory. On the CPU it is read at every step.

    Args:
        store: the images.
        size, seed, rank, ranks: see `Order`.
        device: where the images go.
        share: of the free memory of a GPU that the images may take.

    Raises:
        UsageError: see `Order`.
    """

    def __init__(
        self,
        store: Store,
        size: int,
        seed: int,
        device: torch.device,
        *,
        rank: int = 0,
        ranks: int = 1,
        share: float = 0.4,
    ) -> None:
        self.order = Order(len(store), size, seed, rank=rank, ranks=ranks)
        self.per_epoch = self.order.per_epoch
        self.store, self.device = store, device
        self.resident = fits([store.images] + ([] if store.masks is None else [store.masks]), device, share)
        self.waited = 0.0  # seconds spent in `at`, for the share of time that data costs
        self._moved = store.moved_to(device) if self.resident and device.type != "cpu" else []
        self._reader = None if self.resident else ThreadPoolExecutor(1, "ssl-seg-reader")
        self._pending: dict[int, Future[list[Tensor]]] = {}

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        started = perf_counter()
        rows = self.order.rows(step)
        if self._moved:
            there = rows.to(self.device)
            chosen = [column.index_select(0, there) for column in self._moved]
            images, *masks = self.store.seen(chosen, rows)
        elif self._reader:
            images, *masks = (part.to(self.device, non_blocking=True) for part in self._ahead(step))
        else:
            images, *masks = self._read(rows)
        targets = self.store.targets[rows].to(self.device, non_blocking=True)
        self.waited += perf_counter() - started
        epoch = self.order.epoch(step)
        return Batch(images, self.store.sizes[rows], rows, targets, epoch, *masks)

    def _ahead(self, step: int) -> list[Tensor]:
        """The images of `step` in pinned memory; asks for those of the next steps."""
        assert self._reader is not None
        for wanted in range(step, step + _AHEAD):
            if wanted not in self._pending:
                self._pending[wanted] = self._reader.submit(self._read, self.order.rows(wanted))
        for other in [known for known in self._pending if not step <= known < step + _AHEAD]:
            self._pending.pop(other).cancel()
        try:
            return self._pending.pop(step).result(timeout_seconds())
        except TimeoutError as error:
            what = f"timeout: reading the images of a step took longer than {timeout_seconds():.0f} s"
            raise ResourceError(what, where=str(self.store.folder)) from error

    def _read(self, rows: Tensor) -> list[Tensor]:
        parts = self.store.at(rows)
        return [part.pin_memory() for part in parts] if self.device.type == "cuda" else parts


def fits(columns: Sequence[Tensor], device: torch.device, share: float) -> bool:
    """Whether the images take at most `share` of the device's free memory; a CPU reads them in place."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return sum(column.numel() for column in columns) < share * free


def in_order(
    store: Store,
    size: int,
    device: torch.device,
    chosen: Tensor | None = None,
    *,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[Batch]:
    """Every image once, in the store's order, or the chosen rows; the last batch may be smaller.

    Of several processes each gets whole batches in turn, the same that one alone would make.
    """
    for rows in (torch.arange(len(store)) if chosen is None else chosen).split(size)[rank::ranks]:
        images, *masks = (part.to(device, non_blocking=True) for part in store.at(rows))
        targets = store.targets[rows].to(device, non_blocking=True)
        yield Batch(images, store.sizes[rows], rows, targets, 0, *masks)
