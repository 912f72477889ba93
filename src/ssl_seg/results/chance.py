"""What chance alone does: the interval of a share, the paired permutation test, and Holm's correction."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

NUM_PERMUTATIONS = (
    10_000  # p can be as small as 1 / 10,001: significant after Holm's correction for up to 500 pairs
)
_PART = 100  # at a time, to bound the memory
_Z = 1.959963984540054  # of a normal distribution, 95 % lie within


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share that was found among `count` independent cases (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def permutation_p(count: int, extreme: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> float:
    """The p-value of a paired permutation test.

    All 2^count signs are tried where those are at most `NUM_PERMUTATIONS`, otherwise `NUM_PERMUTATIONS` random ones with a
    fixed seed, and the data themselves. SciPy's `permutation_test` defines the same p-value, but takes 30
    times as long (89 s instead of 3 s for 20,000 images) and refuses a single pair.

    Args:
        count: of the pairs that can be exchanged.
        extreme: given (K, count) signs, 1 or -1, returns (K,) whether exchanging the pairs of sign -1
            gives a difference at least as large as the one that was found.

    Returns:
        In (0, 1].
    """
    if 2 ** min(count, 64) <= NUM_PERMUTATIONS:
        return float(np.mean(extreme(np.array(list(product((1.0, -1.0), repeat=count))))))
    random, found = np.random.default_rng(0), 0
    for _ in range(NUM_PERMUTATIONS // _PART):
        signs = random.integers(0, 2, (_PART, count), np.int8) * 2.0 - 1.0
        found += int(np.count_nonzero(extreme(signs)))
    return (found + 1) / (NUM_PERMUTATIONS + 1)


def sign_flip_test(differences: NDArray[np.int64]) -> float:
    """How often chance alone gives a sum as far from 0: the paired permutation test, two-sided.

    If two models are equally good, each image's difference could as well have the other sign.

    Args:
        differences: (N,) whole numbers, one per image, so that equal sums are equal exactly.
    """
    moved = differences[differences != 0].astype(np.float64)
    seen = abs(moved.sum())
    return permutation_p(len(moved), lambda signs: np.abs(signs @ moved) >= seen)


def holm_correction(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that one in twenty families has a false find (Holm 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected
