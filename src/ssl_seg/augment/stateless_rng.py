"""Stateless random numbers: every draw is a function of (seed, epoch, view, sample, slot).

Nothing is remembered between calls, so the order of the images, the batch size, the number of
threads, ranks or restarts cannot change what happens to an image. The hash is plain integer
arithmetic: the CPU and a GPU give the same bits.
"""

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_FEW = 17  # so small a Feistel network prefers some orders


def _mix(x: int) -> int:
    """A 32-bit integer hash with low bias (two multiplications, three xor-shifts)."""
    x &= _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def _mix_tensor(x: Tensor) -> Tensor:
    """`_mix` for an int64 tensor; the product wraps modulo 2**64 and keeps its low 32 bits."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform(seed: int, epoch: int, view: int, samples: Tensor, slots: int) -> Tensor:
    """Draw `slots` uniform numbers for each sample.

    Args:
        seed: of the run.
        epoch: the pass over the data, from 0.
        view: which view of the image, from 0.
        samples: (B,) int64 ids of the images in their dataset.
        slots: how many numbers each image needs.

    Returns:
        (slots, B) float32 in [0, 1), on the device of `samples`; row `i` is slot `i`.
    """
    key = 0x9E3779B9
    for part in (seed & _MASK, (seed >> 32) & _MASK, epoch, view):
        key = _mix(key ^ part) + 0x9E3779B9
    per_sample = _mix_tensor((samples & _MASK) ^ (key & _MASK))
    slot = torch.arange(1, slots + 1, device=samples.device, dtype=torch.int64)
    slot = (slot * 0x9E3779B1) & _MASK
    bits = _mix_tensor(_mix_tensor(per_sample[None, :] ^ slot[:, None]))
    return (bits >> 8).to(torch.float32) * 2.0**-24


def permutation(seed: int, epoch: int, count: int, positions: Tensor | None = None) -> Tensor:
    """The order in which `count` samples are seen in one epoch.

    A Feistel network over the least power of four that holds `count` numbers; one that lands
    outside is sent through again. So no list is kept: any part of the order can be asked for. Fewer
    than 17 samples are sorted by random keys instead.

    Args:
        seed, epoch: fix the order.
        count: how many samples there are.
        positions: (B,) int64, which places of the order; all of them by default.

    Returns:
        (B,) int64 samples, on the device of `positions`.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    keys = [_mix(_mix(seed ^ 0x51ED270B) ^ (seed >> 32) ^ _mix(epoch + 1) ^ i * 0x9E3779B1) for i in range(6)]
    rows = torch.arange(count) if positions is None else positions.clone()
    if count < _FEW:
        return _by_keys(keys, count).to(rows.device)[rows]
    outside = torch.ones_like(rows, dtype=torch.bool)
    while outside.any():
        rows[outside] = _feistel(rows[outside], half, keys)
        outside = rows >= count
    return rows


def _by_keys(keys: list[int], count: int) -> Tensor:
    """The order of `count` numbers by random keys of 64 bits: all orders are equally likely.

    A Feistel network of so few numbers prefers some.
    """
    numbers = torch.arange(count)
    high, low = (_mix_tensor(_mix_tensor(numbers ^ one) ^ two) for one, two in (keys[:2], keys[2:4]))
    return ((high << 31) ^ low).argsort()


def _feistel(numbers: Tensor, half: int, keys: list[int]) -> Tensor:
    """A bijection of the numbers below 4**half."""
    mask = (1 << half) - 1
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mix_tensor(right ^ key) & mask)
    return (left << half) | right
