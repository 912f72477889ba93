"""How a run is doing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pulse:
    """How a run is doing.

    Attributes:
        step, total: steps done and to do. epoch, epochs: likewise, from 1.
        loss: of the last step.
        images_per_second: since this process started to train.
        remaining: seconds, at that speed.
        data_share: share of the time spent on getting batches, in [0, 1].
        memory: most bytes allocated on a GPU.
        fresh: steps this process has done.
    """

    step: int
    total: int
    epoch: int
    epochs: int
    loss: float
    images_per_second: float
    remaining: float
    data_share: float
    memory: int
    fresh: int
