"""How long a run trains, at which learning rate, and how often it saves."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to save.

    Attributes:
        total: steps of the run.
        per_epoch: steps of an epoch.
        batch_size: images of a step.
        rate: the learning rate as a function of the step, counted from 0.
        peak: its highest value.
        clip: largest norm of the gradients; 0 leaves them as they are.
        save_every: steps between checkpoints; 0 leaves it to the clock.
        save_seconds: between checkpoints, when the clock decides.
    """

    total: int
    per_epoch: int
    batch_size: int
    rate: Callable[[int], float]
    peak: float = 0.0
    clip: float = 0.0
    save_every: int = 0
    save_seconds: float = 300.0
