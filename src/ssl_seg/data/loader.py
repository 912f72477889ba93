"""Batches on the device, as a function of the step."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.shards.order import WindowedOrder
from ssl_seg.errors import ResourceError, UsageError
from ssl_seg.utils.packing import Packed
from ssl_seg.utils.threads import side_thread
from ssl_seg.utils.timeout import timeout_seconds

_PREFETCH_STEPS = 3
Draw = Callable[[Tensor, Tensor, int], Sequence[Tensor]]  # sizes, samples, epoch


@dataclass(frozen=True)
class Batch:
    """A batch of images.

    Attributes:
        images: (B, 3, H, W) uint8 canvases on the device; H and W differ between batches if images are
            longer than the canvas.
        sizes: (B, 2) int64 height and width of the images, on the CPU.
        samples: (B,) int64 indices in the image cache, on the CPU: the keys of all random numbers.
        targets: (B,) int64 class indices on the device, -1 without labels.
        epoch: from 0.
        masks: (B, H, W) uint8 classes of the pixels on the device, or None.
        draws: what the loader's `draw` has returned, on the device.
    """

    images: Tensor
    sizes: Tensor
    samples: Tensor
    targets: Tensor
    epoch: int
    masks: Tensor | None = None
    draws: Sequence[Tensor] = ()


class ShuffleSampler:
    """The image indices of each step: a new permutation every epoch; the last incomplete batch is dropped.

    Args:
        num_samples: number of images.
        batch_size: global batch size, over all processes.
        seed: of the permutations.
        rank, world_size: select this process's part of each batch.
        shard_lengths: number of images of each shard, if the images are in shards; see `WindowedOrder`.

    Raises:
        UsageError: fewer images than one batch, or the batch cannot be divided among the ranks.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        shard_lengths: Sequence[int] = (),
    ) -> None:
        if num_samples < batch_size:
            raise UsageError(
                f"fewer images ({num_samples}) than the batch size ({batch_size})",
                next=f"--batch-size {max(2, num_samples // 2)}",
            )
        if batch_size % world_size:
            raise UsageError(f"batch size {batch_size} is not a multiple of {world_size} processes")
        self.num_samples, self.batch_size, self.seed, self.rank, self.world_size = (
            num_samples,
            batch_size,
            seed,
            rank,
            world_size,
        )
        self.steps_per_epoch = num_samples // batch_size
        self._order = lru_cache(2)(partial(WindowedOrder, shard_lengths or [num_samples], seed))

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, both counted from 0."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> Tensor:
        """Return the (batch_size / world_size,) int64 indices of a step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        positions = torch.arange(index * self.batch_size, (index + 1) * self.batch_size)
        return self._order(epoch)(positions)[self.rank :: self.world_size]


class Loader:
    """Shuffled batches of an image cache, in the order of `ShuffleSampler`.

    A thread prepares the batches of the next steps: all that a step needs lies in one pinned block, which is
    copied once and without waiting. A cache that fits in `memory_fraction` of the free device memory is copied
    there at the start; of a larger one, images come in the block. On the CPU, batches are read at every step,
    and those of shards are decoded ahead.

    Args:
        image_cache: the images.
        batch_size, seed, rank, world_size: see `ShuffleSampler`.
        device: of the batches.
        memory_fraction: of the free GPU memory that the images may occupy.
        draw: sizes, samples and epoch -> tensors on the CPU that the batch is to bring as its `draws`; see
            `Augmentation.draw`. It runs in the thread.

    Raises:
        UsageError: see `ShuffleSampler`.
    """

    def __init__(
        self,
        image_cache: ImageCache,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
        memory_fraction: float = 0.4,
        draw: Draw = lambda sizes, samples, epoch: (),
    ) -> None:
        self.sampler = ShuffleSampler(
            len(image_cache),
            batch_size,
            seed,
            rank=rank,
            world_size=world_size,
            shard_lengths=image_cache.shard_lengths,
        )
        self.steps_per_epoch = self.sampler.steps_per_epoch
        self.image_cache, self.device = image_cache, device
        self.on_device = fits_on_device(image_cache.num_bytes, device, memory_fraction)
        resident = self.on_device and device.type != "cpu"
        self._moved = image_cache.moved_to(device) if resident else []
        self._draw = draw
        decodes = bool(image_cache.shard_lengths) and not resident  # meanwhile the network computes
        streams = resident or not self.on_device or decodes
        self._reader = side_thread("ssl-seg-reader") if streams else None
        self._pending: dict[int, Future[_Prepared]] = {}

    def batch_at(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all epochs."""
        prepared = self._prefetch(step) if self._reader else self._prepare(step)
        tensors = prepared.tensors
        targets, *rest = tensors.moved() if isinstance(tensors, Packed) else tensors
        draws, pixels = rest[: prepared.num_draws], rest[prepared.num_draws :]
        if self._moved:
            selected = [column.index_select(0, pixels[0]) for column in self._moved]
            pixels = self.image_cache.unfolded(selected, prepared.samples)
        images, *masks = pixels
        known = prepared.sizes, prepared.samples, targets, self.sampler.epoch(step)
        return Batch(images, *known, masks[0] if masks else None, draws)

    def _prefetch(self, step: int) -> "_Prepared":
        """Return what a step needs in pinned memory, and request that of the next steps."""
        assert self._reader is not None
        for later in range(step, step + _PREFETCH_STEPS):
            if later not in self._pending:
                self._pending[later] = self._reader.submit(self._prepare, later, pack=True)
        for other in [known for known in self._pending if not step <= known < step + _PREFETCH_STEPS]:
            self._pending.pop(other).cancel()
        try:
            return self._pending.pop(step).result(timeout_seconds())
        except TimeoutError as error:
            what = f"timeout: reading the images of a step took longer than {timeout_seconds():.0f} s"
            raise ResourceError(what, where=str(self.image_cache.folder)) from error

    def _prepare(self, step: int, *, pack: bool = False) -> "_Prepared":
        """Read and draw everything of a step."""
        self.image_cache.check()  # to touch a mapped file that was cut short ends the process
        samples = self.sampler.indices(step)
        sizes, targets = self.image_cache.sizes[samples], self.image_cache.targets[samples]
        draws = self._draw(sizes, samples, self.sampler.epoch(step))
        pixels = [samples] if self._moved else self.image_cache.at(samples)
        tensors = [targets, *draws, *pixels]
        return _Prepared(sizes, samples, len(draws), Packed(tensors, self.device) if pack else tensors)


@dataclass(frozen=True)
class _Prepared:
    """A batch before it is moved: targets, draws, and pixels or the places of resident ones."""

    sizes: Tensor
    samples: Tensor
    num_draws: int
    tensors: Packed | list[Tensor]


def fits_on_device(num_bytes: int, device: torch.device, memory_fraction: float) -> bool:
    """Whether the images occupy at most `memory_fraction` of the free device memory; always on a CPU."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < memory_fraction * free


def sequential_batches(
    image_cache: ImageCache,
    size: int,
    device: torch.device,
    selected: Tensor | list[Tensor] | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Yield every image once in the order of the cache, or the selected ones; the last batch may be smaller.

    A list says for each batch which images are in it.

    With several processes, each gets complete batches in turn: the batches of a single process.
    """
    rows = torch.arange(len(image_cache)) if selected is None else selected
    for indices in (rows if isinstance(rows, list) else rows.split(size))[rank::world_size]:
        images, *masks = (part.to(device, non_blocking=True) for part in image_cache.at(indices))
        targets = image_cache.targets[indices].to(device, non_blocking=True)
        yield Batch(images, image_cache.sizes[indices], indices, targets, 0, masks[0] if masks else None)
