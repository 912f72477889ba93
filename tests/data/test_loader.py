import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
import torch

from ssl_seg.data import loader as module
from ssl_seg.data.canvases import reduced
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.loader import Loader, fits_on_device, sequential_batches
from ssl_seg.errors import ResourceError, UsageError

CPU = torch.device("cpu")


@pytest.fixture
def image_cache(photos, tmp_path):
    pairs = ((name, index % 5) for index, name in enumerate(find_images(photos)))
    image_cache = opened(FileDataset(photos, pairs, list("abcde")), 24, tmp_path / "cache")
    assert 0 < (image_cache.sizes > 24).any(dim=1).sum() < 24, "some pictures are longer than the canvas"
    return image_cache


@pytest.fixture
def streamed(monkeypatch):
    """What follows is read by the thread, as for a device with too little memory."""
    monkeypatch.setattr(module, "fits_on_device", lambda *_: False)


def equal(one, two):
    names = ("images", "sizes", "samples", "targets")
    return one.epoch == two.epoch and all(torch.equal(getattr(one, n), getattr(two, n)) for n in names)


def assert_whole(batch, image_cache, masks=False):
    """The batch holds the pictures of its samples, as they were reduced, and nothing beside them."""
    for index, row in enumerate(batch.samples.tolist()):
        image, _ = reduced(image_cache.dataset, int(image_cache.sample_indices[row]), image_cache.limit)
        height, width = image.shape[:2]
        assert batch.sizes[index].tolist() == [height, width]
        seen = batch.images[index]
        assert np.array_equal(seen[:, :height, :width], image.transpose(2, 0, 1))
        assert not seen[:, height:].any() and not seen[:, :, width:].any()
        if masks:
            mask = batch.masks[index]
            assert torch.equal(mask[:height, :width], seen[0, :height, :width] % 5)
            assert (mask[height:] == 255).all() and (mask[:, width:] == 255).all()


def opened(dataset, limit, cache):
    """The store, with what it was made of."""
    image_cache = open_image_cache(dataset, limit, cache)
    image_cache.dataset, image_cache.limit = dataset, limit
    return image_cache


def samples(feed, epoch):
    steps = range(epoch * feed.steps_per_epoch, (epoch + 1) * feed.steps_per_epoch)
    return torch.cat([feed.batch_at(step).samples for step in steps]).tolist()


@pytest.mark.parametrize("size", [1, 5, 8, 24])
def test_every_image_at_most_once_per_epoch(image_cache, size):
    feed = Loader(image_cache, size, 0, CPU)
    assert feed.steps_per_epoch == 24 // size
    seen = set()
    for epoch in range(12):
        order = samples(feed, epoch)
        assert len(order) == len(set(order)) == feed.steps_per_epoch * size
        seen |= set(order)
    assert seen == set(range(24))


def test_a_batch_holds_the_images_of_its_samples(image_cache):
    feed = Loader(image_cache, 7, 0, CPU)
    for step in (0, 2, 3, 100):
        batch = feed.batch_at(step)
        assert batch.images.shape[:2] == (7, 3) and batch.images.dtype == torch.uint8
        assert_whole(batch, image_cache)
        assert torch.equal(batch.targets, image_cache.targets[batch.samples])
        assert batch.epoch == step // 3


def test_the_order_depends_on_seed_and_epoch_alone(image_cache):
    orders = {
        (seed, epoch): samples(Loader(image_cache, 8, seed, CPU), epoch)
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    for size in (1, 4, 24):
        for (seed, epoch), order in orders.items():
            assert samples(Loader(image_cache, size, seed, CPU), epoch) == order
    assert orders[0, 0] != sorted(orders[0, 0])


def test_a_batch_is_a_function_of_the_step(image_cache):
    feed = Loader(image_cache, 5, 3, CPU)
    first = {step: feed.batch_at(step) for step in range(12)}
    for step in (7, 0, 11, 3, 3, 4, 8):
        assert equal(feed.batch_at(step), first[step])
        assert equal(Loader(image_cache, 5, 3, CPU).batch_at(step), first[step])


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_each_batch_without_overlap(image_cache, world_size):
    whole = Loader(image_cache, 12, 0, CPU)
    parts = [Loader(image_cache, 12, 0, CPU, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(5):
        shares = [part.batch_at(step).samples.tolist() for part in parts]
        assert {len(share) for share in shares} == {12 // world_size}
        assert sorted(chain(*shares)) == sorted(whole.batch_at(step).samples.tolist())
    assert {part.steps_per_epoch for part in parts} == {whole.steps_per_epoch}


def test_too_few_images(image_cache):
    with pytest.raises(UsageError, match=r"\(24\) than the batch size \(25\)") as error:
        Loader(image_cache, 25, 0, CPU)
    assert error.value.next == "--batch-size 12"


def test_a_batch_that_ranks_cannot_share(image_cache):
    with pytest.raises(UsageError, match="batch size 8 is not a multiple of 3 processes"):
        Loader(image_cache, 8, 0, CPU, world_size=3)


def test_a_cpu_needs_no_copy(image_cache):
    assert fits_on_device(image_cache.num_bytes, CPU, 0.0) and not fits_on_device(
        image_cache.num_bytes, torch.device("meta"), 1.0
    )
    feed = Loader(image_cache, 8, 0, CPU)
    assert feed.on_device and feed._moved == []


def test_streamed_batches_are_the_resident_ones(image_cache, streamed):
    feed = Loader(image_cache, 5, 0, CPU)
    assert not feed.on_device
    for step in range(9):
        assert_whole(feed.batch_at(step), image_cache)


@pytest.mark.parametrize("steps", [range(9), [8, 0, 3, 2, 7, 7, 1, 100, 5], range(20, 0, -1)])
def test_in_any_order(image_cache, monkeypatch, steps):
    resident = Loader(image_cache, 5, 1, CPU, rank=1, world_size=5)
    monkeypatch.setattr(module, "fits_on_device", lambda *_: False)
    streaming = Loader(image_cache, 5, 1, CPU, rank=1, world_size=5)
    for step in steps:
        assert equal(streaming.batch_at(step), resident.batch_at(step))
        assert len(streaming._pending) < module._PREFETCH_STEPS, "what is read ahead must not pile up"


def test_the_reader_is_ahead(image_cache, streamed):
    feed = Loader(image_cache, 5, 0, CPU)
    feed.batch_at(3)
    assert sorted(feed._pending) == [4, 5]


def test_a_disk_that_does_not_answer_is_not_waited_for(image_cache, streamed, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.2")
    feed, answer = Loader(image_cache, 5, 1, CPU), threading.Event()
    monkeypatch.setattr(feed.image_cache, "at", lambda indices: answer.wait(30))
    with pytest.raises(
        ResourceError, match="timeout: reading the images of a step took longer than 0 s"
    ) as error:
        feed.batch_at(0)
    answer.set()
    assert error.value.where == str(image_cache.folder)


def test_what_goes_wrong_while_reading_ahead_is_raised(image_cache, streamed, monkeypatch):
    feed = Loader(image_cache, 5, 0, CPU)

    def read(indices):
        raise OSError("the disk is gone")

    monkeypatch.setattr(feed.image_cache, "at", read)
    with pytest.raises(OSError, match="the disk is gone"):
        feed.batch_at(0)


@pytest.mark.parametrize("size", [1, 7, 24, 50])
def test_in_order_gives_every_image_once(image_cache, size):
    got = list(sequential_batches(image_cache, size, CPU))
    assert torch.cat([batch.samples for batch in got]).tolist() == list(range(24))
    for batch in got:
        assert_whole(batch, image_cache)
    assert torch.equal(torch.cat([batch.targets for batch in got]), image_cache.targets)
    assert torch.equal(torch.cat([batch.sizes for batch in got]), image_cache.sizes)
    assert all(len(batch.samples) == size for batch in got[:-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("memory_fraction", [0.0, 0.5])
def test_on_a_gpu(image_cache, memory_fraction):
    here, device_indices = (
        Loader(image_cache, 5, 0, CPU),
        Loader(image_cache, 5, 0, torch.device("cuda"), memory_fraction=memory_fraction),
    )
    assert device_indices.on_device == bool(memory_fraction)
    for step in (0, 1, 5, 2):
        batch = device_indices.batch_at(step)
        assert batch.images.is_cuda and batch.targets.is_cuda
        assert torch.equal(batch.images.cpu(), here.batch_at(step).images)


def test_masks_come_with_their_images(photos, tmp_path):
    class Masked(FileDataset):
        masks = True

        def mask(self, index, canvas):
            return self.image(index, canvas)[0][:, :, 0] % 5

    dataset = Masked(photos, ((name, -1) for name in find_images(photos)))
    image_cache = opened(dataset, 32, tmp_path / "masked")
    for memory_fraction in (0.4, None):
        feed = Loader(image_cache, 6, 0, CPU)
        if memory_fraction is None:  # as if it were too large
            feed.on_device, feed._reader = False, ThreadPoolExecutor(1)
        for step in range(5):
            assert_whole(feed.batch_at(step), image_cache, masks=True)
    for batch in sequential_batches(image_cache, 7, CPU):
        assert_whole(batch, image_cache, masks=True)


def test_moved_pictures_are_those_that_are_read(image_cache):
    """As on a GPU, where the canvases lie as they lie in the file."""
    read, moved = Loader(image_cache, 5, 0, CPU), Loader(image_cache, 5, 0, CPU)
    moved._moved = image_cache.moved_to(CPU)
    for step in range(9):
        assert equal(read.batch_at(step), moved.batch_at(step))
        assert_whole(moved.batch_at(step), image_cache)


@pytest.mark.parametrize("forced", [False, True], ids=["on the CPU", "packed by the thread"])
def test_draws_come_with_their_batch(image_cache, monkeypatch, forced):
    if forced:
        monkeypatch.setattr(module, "fits_on_device", lambda *_: False)
    feed = Loader(
        image_cache, 5, 0, CPU, draw=lambda sizes, samples, epoch: (samples % 2 == epoch, sizes / 2)
    )
    for step in (0, 3, 7):
        batch = feed.batch_at(step)
        odd, halves = batch.draws
        assert odd.dtype == torch.bool and torch.equal(odd, batch.samples % 2 == step // 4)
        assert torch.equal(halves, batch.sizes / 2)
        assert_whole(batch, image_cache)
