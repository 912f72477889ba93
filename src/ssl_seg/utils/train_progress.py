"""The progress of a training run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainProgress:
    """The progress of a training run.

    Attributes:
        step, total_steps: steps done and to do. epoch, epochs: likewise, from 1.
        loss: of the last step.
        images_per_second: since this process started to train.
        eta_seconds: time left at that speed.
        data_wait_fraction: fraction of the time spent on getting batches, in [0, 1].
        memory: peak bytes allocated on a GPU.
        steps_since_start: steps that this process has done.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    images_per_second: float
    eta_seconds: float
    data_wait_fraction: float
    memory: int
    steps_since_start: int
