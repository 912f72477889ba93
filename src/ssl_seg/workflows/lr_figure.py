"""The learning-rate range test of a training command, drawn."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.engine.stopping import Stopping
from ssl_seg.errors import HealthError, UsageError
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.workflows.trial import trying

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ssl_seg.engine.schedule import Schedule
    from ssl_seg.engine.side_stream import BatchFn
    from ssl_seg.utils.lr_range import LrRange


class LrRangeTest:
    """A `Trial` in which the learning rate rises from step to step, until the loss diverges.

    Args:
        low, high: learning rates of the first and the last step.
        steps: how many.

    Attributes:
        rates, losses: of the steps that were made.
    """

    quiet = False

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.high, self.steps = low, high, steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._stopping = Stopping()

    def step_end(self, step: int, scores: "Mapping[str, Tensor]") -> None:
        """Note the loss; called by the loop, as of an observer."""
        from ssl_seg.utils.lr_range import has_diverged, rate_at

        self.rates.append(rate_at(step - 1, self.steps, self.low, self.high))
        self.losses.append(float(scores["loss"]))
        if has_diverged(self.losses):
            self._stopping.reason = "the loss diverged"

    def run(
        self,
        fit: Callable[..., int],
        module: "nn.Module",
        batches: "BatchFn",
        optimizer: "Optimizer",
        schedule: "Schedule",
        options: dict[str, Any],
    ) -> None:
        """See `Trial`."""
        from ssl_seg.utils.lr_range import rate_at

        options |= {"observers": [self], "stopping": self._stopping, "monitor": None}
        options["on_epoch_end"] = lambda epoch: {}
        rising = replace(
            schedule,
            total_steps=self.steps,
            lr_at=lambda step: rate_at(step, self.steps, self.low, self.high),
        )
        try:
            fit(module, lambda step: batches(step % schedule.total_steps), optimizer, rising, **options)
        except HealthError:  # at some rate the loss is no number: this is what was to be found
            if len(self.losses) < 3:
                raise

    def lines(self) -> list[str]:
        """See `Trial`."""
        return [f"{self._stopping.reason} at a rate of {self.rates[-1]:.2g}"] if self._stopping.reason else []


def draw_lr_range(start: Callable[[], object], test: LrRangeTest, stem: Path) -> tuple["LrRange", list[Path]]:
    """Run a range test, draw it, and write its numbers beside the figure.

    Args:
        start: starts the run.

    Raises:
        UsageError: the rates do not rise, or the loss diverged in the first steps.
    """
    from ssl_seg.figures.lr_range import draw
    from ssl_seg.utils.lr_range import lr_range

    if not 0 < test.low < test.high:
        raise UsageError(
            f"--lr-max must be above --lr-min, which must be above 0, got {test.low:g} and {test.high:g}",
            next="--lr-min 1e-6 --lr-max 10",
        )
    with trying(test):
        start()
    if len(test.losses) < 3:
        raise UsageError(
            f"the loss diverged at a rate of {test.rates[-1]:.2g}", next=f"--lr-min {test.low / 100:g}"
        )
    found = lr_range(test.rates, test.losses)
    numbers = {
        "suggested_lr": found.suggested,
        "rule": "steepest descent of the smoothed loss over the logarithm of the rate, before its minimum",
        "window": found.window,
        "lr": found.rates.tolist(),
        "loss": found.losses.tolist(),
    }
    path = stem.with_name(f"{stem.name}.json")
    atomic_write_text(path, json.dumps(numbers, indent=1) + "\n")
    return found, [*draw(stem, found), path]
