"""Stateless random numbers: every draw is a function of (seed, epoch, view, sample, slot).

Nothing is remembered between calls, so the order of the images, the batch size, the number of
threads, ranks or restarts cannot change what happens to an image. The hash is plain integer
arithmetic: the CPU and a GPU give the same bits.
"""

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


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


def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """The order in which `count` samples are seen in one epoch, as (count,) int64 on the CPU."""
    keys = uniform(seed, epoch, -1, torch.arange(count), 2)
    return torch.argsort(keys[0].double() + keys[1].double() * 2.0**-24, stable=True)
