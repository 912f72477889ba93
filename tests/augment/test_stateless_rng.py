from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from ssl_seg.augment.stateless_rng import permutation, uniform

ORDER_OF_17 = [8, 1, 16, 15, 4, 2, 5, 6, 13, 0, 7, 9, 10, 12, 11, 3, 14]
ORDER_OF_1000 = [141, 465, 908, 603, 728, 299, 189, 552]

M = 0xFFFFFFFF


def mix(x):
    x &= M
    x = (x ^ (x >> 16)) * 0x7FEB352D & M
    x = (x ^ (x >> 15)) * 0x846CA68B & M
    return x ^ (x >> 16)


def reference(seed, epoch, view, sample, slot):
    """The hash in plain Python, where integers do not wrap."""
    key = 0x9E3779B9
    for part in (seed & M, (seed >> 32) & M, epoch, view):
        key = mix(key ^ (part & M)) + 0x9E3779B9
    ours = mix((sample ^ key) & M)
    return (mix(mix(ours ^ ((slot + 1) * 0x9E3779B1 & M))) >> 8) / 2**24


def draws(seed=0, epoch=0, view=0, samples=5000, slots=6):
    return uniform(seed, epoch, view, torch.arange(samples), slots).numpy()


@pytest.mark.parametrize("seed", [0, 1, 7_000_000_001, 2**63, -1])
def test_equals_the_hash_written_in_plain_python(seed):
    samples = [0, 1, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1]
    for epoch, view in ((0, 0), (3, 1), (999, 7), (5, -1)):
        got = uniform(seed, epoch, view, torch.tensor(samples), 34)
        want = [[reference(seed, epoch, view, sample, slot) for sample in samples] for slot in range(34)]
        assert got.shape == (34, len(samples)) and got.dtype == torch.float32
        assert got.tolist() == want


def test_numbers_lie_in_the_half_open_unit_interval():
    numbers = draws(samples=200_000)
    assert numbers.min() >= 0 and numbers.max() < 1


@pytest.mark.parametrize("key", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (123_456_789_012, 299, 1)])
def test_every_slot_is_uniform(key):
    for slot in draws(*key):
        assert stats.kstest(slot, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("other", [{"epoch": 1}, {"view": 1}, {"seed": 1}, {"seed": 2**32}, {"epoch": 256}])
def test_neighbouring_keys_are_uncorrelated(other):
    one, two = draws(), draws(**other)
    for a in one:
        for b in two:
            assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(a.size)


def test_neighbouring_slots_and_samples_are_uncorrelated():
    numbers = draws(samples=5000, slots=34)
    limit = 4.5 / np.sqrt(5000)
    between = np.corrcoef(numbers) - np.eye(34)
    assert np.abs(between).max() < limit
    for lag in (1, 2, 4, 8, 16, 64, 256):
        for slot in numbers[:8]:
            assert abs(np.corrcoef(slot[lag:], slot[:-lag])[0, 1]) < limit


def test_pairs_of_slots_fill_the_square_evenly():
    numbers = draws(samples=20_000, slots=4)
    for a, b in ((0, 1), (1, 2), (0, 3)):
        cells, _, _ = np.histogram2d(numbers[a], numbers[b], bins=8, range=[[0, 1], [0, 1]])
        chi2 = ((cells - 312.5) ** 2 / 312.5).sum()  # 63 degrees of freedom: 63 +- 11
        assert chi2 < 110


def test_a_number_does_not_depend_on_the_other_samples_or_slots():
    whole = uniform(3, 2, 1, torch.arange(100), 34)
    some = torch.tensor([99, 0, 42, 42])
    assert torch.equal(uniform(3, 2, 1, some, 5), whole[:5, some])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 1000, 20_000])
def test_permutation_is_one(count):
    order = permutation(0, 0, count)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(count))


def test_a_part_of_an_order_is_that_part():
    places = torch.tensor([999, 3, 500, 0])
    assert torch.equal(permutation(4, 2, 1000, places), permutation(4, 2, 1000)[places])


def test_permutation_depends_on_seed_and_epoch_alone():
    one = permutation(1, 5, 1000)
    assert torch.equal(one, permutation(1, 5, 1000))
    for other in (permutation(1, 6, 1000), permutation(2, 5, 1000), torch.arange(1000)):
        assert (one == other).sum() < 10  # one fixed point is expected
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(1000)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("over", ["seeds", "epochs"])
def test_every_order_of_a_few_is_equally_likely(count, over):
    """All 24 orders of four, all 120 of five: a Feistel network of so few numbers prefers some."""
    orders = {order: 0 for order in permutations(range(count))}
    for draw in range(60 * len(orders)):
        found = permutation(draw, 0, count) if over == "seeds" else permutation(3, draw, count)
        orders[tuple(found.tolist())] += 1
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


def test_orders_of_more_than_sixteen_are_what_they_were():
    """Runs that were saved by version 0.1.0 go on with them."""
    assert permutation(0, 0, 17).tolist() == ORDER_OF_17
    assert permutation(7, 3, 1000)[:8].tolist() == ORDER_OF_1000


def test_a_part_of_the_order_of_a_few_is_that_part():
    places = torch.tensor([11, 3, 5, 0])
    assert torch.equal(permutation(4, 2, 12, places), permutation(4, 2, 12)[places])


def test_every_sample_is_equally_likely_in_every_place():
    places = torch.stack([permutation(0, epoch, 8) for epoch in range(800)])
    counts = torch.stack([(places == sample).sum(0) for sample in range(8)]).double()
    assert ((counts - 100) ** 2 / 100).sum() < 100  # 49 degrees of freedom: 49 +- 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_bits():
    samples = torch.arange(10_000) * 429_497
    assert torch.equal(uniform(9, 3, 1, samples.cuda(), 34).cpu(), uniform(9, 3, 1, samples, 34))
