import torch

from ssl_seg.augment.stateless_rng import permutation
from ssl_seg.data.loader import ShuffleSampler
from ssl_seg.data.shards.order import WindowedOrder

LENGTHS = [5, 7, 1, 20, 3, 9, 9, 2, 30, 4]
TOTAL = sum(LENGTHS)
SHARD = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))


def test_every_image_comes_once():
    for window in (1, 2, 3, 9, 10, 99):
        for epoch in range(3):
            order = WindowedOrder(LENGTHS, 4, epoch, window=window)(torch.arange(TOTAL))
            assert sorted(order.tolist()) == list(range(TOTAL)), window


def test_any_part_can_be_asked_for():
    order = WindowedOrder(LENGTHS, 4, 1, window=3)
    whole = order(torch.arange(TOTAL))
    positions = torch.tensor([60, 0, 33, 89, 12])
    assert torch.equal(order(positions), whole[positions])


def test_a_window_of_all_shards_is_the_order_without_shards():
    order = WindowedOrder(LENGTHS, 7, 2, window=len(LENGTHS))(torch.arange(TOTAL))
    assert torch.equal(order, permutation(7, 2, TOTAL))


def test_images_come_window_by_window():
    """At any time only the shards of one window are read."""
    order = WindowedOrder(LENGTHS, 4, 0, window=3)(torch.arange(TOTAL))
    seen = SHARD[order]
    start = 0
    shards = permutation(4, 0, len(LENGTHS)).tolist()
    for window in range(0, len(LENGTHS), 3):
        inside = shards[window : window + 3]
        count = sum(LENGTHS[shard] for shard in inside)
        part = seen[start : start + count]
        assert set(part.tolist()) == set(inside)
        start += count
    runs = int((seen[1:] != seen[:-1]).sum())
    assert runs > len(LENGTHS)  # mixed inside


def test_epochs_and_seeds_differ():
    orders = [
        WindowedOrder(LENGTHS, seed, epoch, window=2)(torch.arange(TOTAL))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_processes_share_the_batches_of_one():
    one = ShuffleSampler(TOTAL, 12, 3, shard_lengths=LENGTHS)
    for world in (2, 3):
        parts = [
            ShuffleSampler(TOTAL, 12, 3, rank=rank, world_size=world, shard_lengths=LENGTHS)
            for rank in range(world)
        ]
        for step in range(2 * one.steps_per_epoch):
            shared = torch.cat([part.indices(step) for part in parts])
            assert sorted(shared.tolist()) == sorted(one.indices(step).tolist())
