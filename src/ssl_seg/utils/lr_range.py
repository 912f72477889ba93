"""The learning-rate range test (Smith 2017): what loss training has as the learning rate rises."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PART = 20  # the loss is averaged over a twentieth of the steps to either side
_DIVERGED = 4.0  # times the lowest loss


@dataclass(frozen=True)
class LrRange:
    """Losses over rising learning rates.

    Attributes:
        rates: (N,) learning rates of the steps, in rising order.
        losses: (N,) losses.
        smoothed: (N,) losses averaged over `window` steps, of which each is the middle one.
        window: number of steps; fewer at both ends.
        suggested: the rate where `smoothed` falls steepest over the logarithm of the rate, before its minimum; None
            where it does not fall.
        lowest: the rate of the minimum of `smoothed`.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    window: int
    suggested: float | None
    lowest: float


def lr_range(rates: Sequence[float], losses: Sequence[float]) -> LrRange:
    """Evaluate a range test.

    Args:
        rates: (N,) positive, rising. losses: (N,) finite; N is at least 3.
    """
    lr, loss = np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    half = max(1, len(loss) // _PART)
    smoothed = np.array([loss[max(0, i - half) : i + half + 1].mean() for i in range(len(loss))])
    lowest = int(smoothed.argmin())
    slopes = np.gradient(smoothed, np.log(lr))[: lowest + 1]
    steepest = int(slopes.argmin())
    suggested = float(lr[steepest]) if slopes[steepest] < 0 else None
    return LrRange(lr, loss, smoothed, 2 * half + 1, suggested, float(lr[lowest]))


def rate_at(step: int, steps: int, low: float, high: float) -> float:
    """The learning rate of a step, counted from 0: equal factors from `low` to `high`."""
    return float(low * (high / low) ** (step / max(1, steps - 1)))


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last loss is no number, or four times the lowest one before; losses below 0 have no factor."""
    last, lowest = losses[-1], min(losses)
    return not np.isfinite(last) or (lowest > 0 and last > _DIVERGED * lowest)
