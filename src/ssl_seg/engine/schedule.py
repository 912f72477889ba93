"""The length of a run, its learning rate and weight decay, and how often it saves."""

from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer

from ssl_seg.engine.optim import set_lr, set_weight_decay


@dataclass(frozen=True)
class Schedule:
    """How long to train and how often to save.

    Attributes:
        total_steps: steps of the run.
        steps_per_epoch: steps of an epoch.
        batch_size: images of a step.
        lr_at: the learning rate as a function of the step, counted from 0.
        max_grad_norm: clip gradients to this norm; 0 = off.
        save_every_steps: steps between checkpoints; 0: save by time.
        save_every_seconds: seconds between checkpoints that are saved by time.
        peak_lr: the highest learning rate, for parameter groups whose rate is constant.
        weight_decay_at: the weight decay as a function of the step; None: it stays.
    """

    total_steps: int
    steps_per_epoch: int
    batch_size: int
    lr_at: Callable[[int], float]
    max_grad_norm: float = 0.0
    save_every_steps: int = 0
    save_every_seconds: float = 300.0
    peak_lr: float = 0.0
    weight_decay_at: Callable[[int], float] | None = None

    @property
    def epochs(self) -> int:
        """How many there will be; the last may be a part of one."""
        return -(-self.total_steps // self.steps_per_epoch)


def set_rates(optimizer: Optimizer, schedule: Schedule, step: int) -> float:
    """Give every parameter group the learning rate and the weight decay of a step; return the learning rate."""
    lr = schedule.lr_at(step)
    set_lr(optimizer, lr, schedule.peak_lr, step / schedule.total_steps)
    if schedule.weight_decay_at:
        set_weight_decay(optimizer, schedule.weight_decay_at(step))
    return lr
