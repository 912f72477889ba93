import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
import torch

from ssl_seg.data import loader as module
from ssl_seg.data.canvases import reduced
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import open_store
from ssl_seg.data.loader import Batches, fits, in_order
from ssl_seg.errors import ResourceError, UsageError

CPU = torch.device("cpu")


@pytest.fixture
def store(photos, tmp_path):
    pairs = ((name, index % 5) for index, name in enumerate(find_images(photos)))
    store = opened(FileDataset(photos, pairs, list("abcde")), 24, tmp_path / "cache")
    assert 0 < (store.sizes > 24).any(dim=1).sum() < 24, "some pictures are longer than the canvas"
    return store


@pytest.fixture
def streamed(monkeypatch):
    """What follows is read by the thread, as for a device with too little memory."""
    monkeypatch.setattr(module, "fits", lambda *_: False)


def equal(one, two):
    names = ("images", "sizes", "samples", "targets")
    return one.epoch == two.epoch and all(torch.equal(getattr(one, n), getattr(two, n)) for n in names)


def assert_whole(batch, store, masks=False):
    """The batch holds the pictures of its samples, as they were reduced, and nothing beside them."""
    for place, row in enumerate(batch.samples.tolist()):
        image, _ = reduced(store.dataset, int(store.rows[row]), store.limit)
        height, width = image.shape[:2]
        assert batch.sizes[place].tolist() == [height, width]
        seen = batch.images[place]
        assert np.array_equal(seen[:, :height, :width], image.transpose(2, 0, 1))
        assert not seen[:, height:].any() and not seen[:, :, width:].any()
        if masks:
            mask = batch.masks[place]
            assert torch.equal(mask[:height, :width], seen[0, :height, :width] % 5)
            assert (mask[height:] == 255).all() and (mask[:, width:] == 255).all()


def opened(dataset, limit, cache):
    """The store, with what it was made of."""
    store = open_store(dataset, limit, cache)
    store.dataset, store.limit = dataset, limit
    return store


def samples(feed, epoch):
    steps = range(epoch * feed.per_epoch, (epoch + 1) * feed.per_epoch)
    return torch.cat([feed.at(step).samples for step in steps]).tolist()


@pytest.mark.parametrize("size", [1, 5, 8, 24])
def test_every_image_at_most_once_per_epoch(store, size):
    feed = Batches(store, size, 0, CPU)
    assert feed.per_epoch == 24 // size
    seen = set()
    for epoch in range(12):
        order = samples(feed, epoch)
        assert len(order) == len(set(order)) == feed.per_epoch * size
        seen |= set(order)
    assert seen == set(range(24))


def test_a_batch_holds_the_images_of_its_samples(store):
    feed = Batches(store, 7, 0, CPU)
    for step in (0, 2, 3, 100):
        batch = feed.at(step)
        assert batch.images.shape[:2] == (7, 3) and batch.images.dtype == torch.uint8
        assert_whole(batch, store)
        assert torch.equal(batch.targets, store.targets[batch.samples])
        assert batch.epoch == step // 3


def test_the_order_depends_on_seed_and_epoch_alone(store):
    orders = {
        (seed, epoch): samples(Batches(store, 8, seed, CPU), epoch) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    for size in (1, 4, 24):
        for (seed, epoch), order in orders.items():
            assert samples(Batches(store, size, seed, CPU), epoch) == order
    assert orders[0, 0] != sorted(orders[0, 0])


def test_a_batch_is_a_function_of_the_step(store):
    feed = Batches(store, 5, 3, CPU)
    first = {step: feed.at(step) for step in range(12)}
    for step in (7, 0, 11, 3, 3, 4, 8):
        assert equal(feed.at(step), first[step])
        assert equal(Batches(store, 5, 3, CPU).at(step), first[step])


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_each_batch_without_overlap(store, ranks):
    whole = Batches(store, 12, 0, CPU)
    parts = [Batches(store, 12, 0, CPU, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step in range(5):
        shares = [part.at(step).samples.tolist() for part in parts]
        assert {len(share) for share in shares} == {12 // ranks}
        assert sorted(chain(*shares)) == sorted(whole.at(step).samples.tolist())
    assert {part.per_epoch for part in parts} == {whole.per_epoch}


def test_too_few_images(store):
    with pytest.raises(UsageError, match=r"\(24\) than the batch size \(25\)") as error:
        Batches(store, 25, 0, CPU)
    assert error.value.next == "--batch-size 12"


def test_a_batch_that_ranks_cannot_share(store):
    with pytest.raises(UsageError, match="batch size 8 is not a multiple of 3 processes"):
        Batches(store, 8, 0, CPU, ranks=3)


def test_a_cpu_needs_no_copy(store):
    assert fits([store.images], CPU, 0.0) and not fits([store.images], torch.device("meta"), 1.0)
    feed = Batches(store, 8, 0, CPU)
    assert feed.resident and feed._moved == []


def test_streamed_batches_are_the_resident_ones(store, streamed):
    feed = Batches(store, 5, 0, CPU)
    assert not feed.resident
    for step in range(9):
        assert_whole(feed.at(step), store)


@pytest.mark.parametrize("steps", [range(9), [8, 0, 3, 2, 7, 7, 1, 100, 5], range(20, 0, -1)])
def test_in_any_order(store, monkeypatch, steps):
    resident = Batches(store, 5, 1, CPU, rank=1, ranks=5)
    monkeypatch.setattr(module, "fits", lambda *_: False)
    streaming = Batches(store, 5, 1, CPU, rank=1, ranks=5)
    for step in steps:
        assert equal(streaming.at(step), resident.at(step))
        assert len(streaming._pending) < module._AHEAD, "what is read ahead must not pile up"


def test_the_reader_is_ahead(store, streamed):
    feed = Batches(store, 5, 0, CPU)
    feed.at(3)
    assert sorted(feed._pending) == [4, 5]


def test_a_disk_that_does_not_answer_is_not_waited_for(store, streamed, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.2")
    feed, answer = Batches(store, 5, 1, CPU), threading.Event()
    monkeypatch.setattr(feed, "_read", lambda rows: answer.wait(30))
    with pytest.raises(
        ResourceError, match="timeout: reading the images of a step took longer than 0 s"
    ) as error:
        feed.at(0)
    answer.set()
    assert error.value.where == str(store.folder)


def test_what_goes_wrong_while_reading_ahead_is_raised(store, streamed, monkeypatch):
    feed = Batches(store, 5, 0, CPU)

    def read(rows):
        raise OSError("the disk is gone")

    monkeypatch.setattr(feed, "_read", read)
    with pytest.raises(OSError, match="the disk is gone"):
        feed.at(0)


@pytest.mark.parametrize("size", [1, 7, 24, 50])
def test_in_order_gives_every_image_once(store, size):
    got = list(in_order(store, size, CPU))
    assert torch.cat([batch.samples for batch in got]).tolist() == list(range(24))
    for batch in got:
        assert_whole(batch, store)
    assert torch.equal(torch.cat([batch.targets for batch in got]), store.targets)
    assert torch.equal(torch.cat([batch.sizes for batch in got]), store.sizes)
    assert all(len(batch.samples) == size for batch in got[:-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_on_a_gpu(store, share):
    here, there = Batches(store, 5, 0, CPU), Batches(store, 5, 0, torch.device("cuda"), share=share)
    assert there.resident == bool(share)
    for step in (0, 1, 5, 2):
        batch = there.at(step)
        assert batch.images.is_cuda and batch.targets.is_cuda
        assert torch.equal(batch.images.cpu(), here.at(step).images)


def test_masks_come_with_their_images(photos, tmp_path):
    class Masked(FileDataset):
        masks = True

        def mask(self, index, canvas):
            return self.image(index, canvas)[0][:, :, 0] % 5

    dataset = Masked(photos, ((name, -1) for name in find_images(photos)))
    store = opened(dataset, 32, tmp_path / "masked")
    for share in (0.4, None):
        feed = Batches(store, 6, 0, CPU)
        if share is None:  # as if it were too large
            feed.resident, feed._reader = False, ThreadPoolExecutor(1)
        for step in range(5):
            assert_whole(feed.at(step), store, masks=True)
    for batch in in_order(store, 7, CPU):
        assert_whole(batch, store, masks=True)


def test_moved_pictures_are_those_that_are_read(store):
    """As on a GPU, where the canvases lie as they lie in the file."""
    read, moved = Batches(store, 5, 0, CPU), Batches(store, 5, 0, CPU)
    moved._moved = store.moved_to(CPU)
    for step in range(9):
        assert equal(read.at(step), moved.at(step))
        assert_whole(moved.at(step), store)
