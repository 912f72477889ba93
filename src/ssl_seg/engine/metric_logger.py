"""Metrics and times of a run: sums stay on the device until they are read."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ssl_seg.engine.energy import EnergyMeter
from ssl_seg.utils.train_progress import TrainProgress

_INTERVAL = 0.5


class MetricLogger:
    """Means of an epoch's scalars, times and energy of one run.

    Args:
        total_steps, steps_per_epoch: of the run and of an epoch.
        batch_size: images of a step.
        energy: meter of this process.
    """

    def __init__(
        self, total_steps: int, steps_per_epoch: int, batch_size: int, energy: EnergyMeter | None = None
    ) -> None:
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.batch_size = batch_size
        self._sums: dict[str, Tensor] = {}
        self._values: dict[str, float] = {}
        self._loss: Tensor | None = None
        self._previous_seconds = 0.0  # seconds of training in earlier processes of this run
        self._energy = energy or EnergyMeter(None)
        self._previous_joules: float | None = 0.0  # likewise; None: unknown for at least one of them
        self._joules: float | None = None  # over all ranks, at the last `sync`
        self._previous_epoch_seconds, self._epoch_steps = 0.0, 0  # of the current epoch, likewise
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self._started = self._last_progress = self._epoch_started = perf_counter()
        self._steps_since_start, self._data_wait = 0, 0.0
        self._paused, self._paused_joules = 0.0, 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude what runs inside (a validation, a probe) from the time and energy of training."""
        started, joules = perf_counter(), self._energy.joules()
        try:
            yield
        finally:
            self._paused += perf_counter() - started
            self._paused_joules += self._energy.joules() - joules

    def time_batch(self, batches: Callable[[int], Sequence[Any]], step: int) -> Sequence[Any]:
        """Call `batches`, and add the time that it takes to the time of waiting for data."""
        started = perf_counter()
        inputs = batches(step)
        self._data_wait += perf_counter() - started
        return inputs

    def update(self, out: Mapping[str, Tensor], weight: float | Tensor) -> None:
        """Add the scalars of a micro-batch, which counts for `weight` of its step."""
        self._loss = out["loss"].detach()
        for name, value in out.items():
            if value.ndim == 0:
                scalar = value.detach()  # a Mac's GPU has no float64
                part = (scalar.cpu() if scalar.device.type == "mps" else scalar).double() * weight
                before = self._sums.get(name)
                self._sums[name] = part if before is None else before.to(part.device) + part

    def sync(self, all_reduce_mean: Callable[..., Sequence[float]], world_size: int) -> None:
        """Replace the sums of this process by the means over all processes; see `Device.all_reduce_mean`."""
        own = self._energy.joules() - self._paused_joules
        joules, available = all_reduce_mean(own, float(self._energy.is_available))
        known = available == 1.0 and self._previous_joules is not None
        self._joules = (self._previous_joules or 0.0) + joules * world_size if known else None
        if not self._sums:
            return
        means = all_reduce_mean(*(value.item() for value in self._sums.values()))
        self._sums = {
            name: torch.full_like(value, number)
            for (name, value), number in zip(self._sums.items(), means, strict=True)
        }

    def set_values(self, values: Mapping[str, float]) -> None:
        """Set scores that are not averaged: the last values of an epoch are its scores."""
        self._values.update(values)

    def on_step_end(self) -> None:
        """Count a step."""
        self._steps_since_start += 1
        self._epoch_steps += 1

    def epoch_scores(self, step: int) -> dict[str, float]:
        """The scores of the epoch that ends with `step`."""
        speed = self.batch_size * self._epoch_steps / max(1e-9, self._epoch_seconds)
        epoch = math.ceil(step / self.steps_per_epoch)
        steps = step - (epoch - 1) * self.steps_per_epoch  # fewer where the run ends within an epoch
        scores = {"epoch": epoch, "step": step, "seconds": round(self.seconds, 3)}
        scores["images_per_second"] = round(speed, 2)
        if self._joules is not None:
            scores["energy_wh"] = round(self._joules / 3600, 4)
        scores |= {name: (value / steps).item() for name, value in self._sums.items()}
        return scores | self._values

    def start_epoch(self) -> None:
        """Start an epoch and its clock: the time between epochs does not count."""
        self._sums, self._values = {}, {}
        self._previous_epoch_seconds, self._epoch_steps, self._epoch_started = 0.0, 0, perf_counter()

    def is_epoch_end(self, step: int, *, is_last: bool = False) -> bool:
        """Whether `step` ends an epoch whose scores have not been written; the last step of a run does."""
        return bool(self._sums) and (is_last or step % self.steps_per_epoch == 0)

    @property
    def seconds(self) -> float:
        """Seconds of training in this and earlier processes of the run, without what ran in `paused`."""
        return self._previous_seconds + perf_counter() - self._started - self._paused

    @property
    def _epoch_seconds(self) -> float:
        return self._previous_epoch_seconds + perf_counter() - self._epoch_started

    def progress(self, step: int, memory: int) -> TrainProgress | None:
        """The progress of the run; None if it was returned less than half a second ago."""
        now = perf_counter()
        if now - self._last_progress < _INTERVAL and step < self.total_steps:
            return None
        self._last_progress = now
        self._energy.joules()  # often enough
        elapsed = now - self._started
        per_step = elapsed / max(1, self._steps_since_start)
        return TrainProgress(
            step=step,
            total_steps=self.total_steps,
            epoch=(step - 1) // self.steps_per_epoch + 1,
            epochs=math.ceil(self.total_steps / self.steps_per_epoch),
            loss=self._loss.item() if self._loss is not None else math.nan,
            images_per_second=self.batch_size / per_step,
            eta_seconds=per_step * (self.total_steps - step),
            data_wait_fraction=self._data_wait / elapsed,
            memory=memory,
            steps_since_start=self._steps_since_start,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint must hold to resume within an epoch."""
        sums = {name: value.item() for name, value in self._sums.items()}
        epoch = [self._epoch_seconds, self._epoch_steps]
        clock = {"seconds": self.seconds, "joules": self._joules, "epoch": epoch}
        return {"sums": sums, "notes": self._values} | clock

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a saved state."""
        self._sums = {k: torch.tensor(v, dtype=torch.float64) for k, v in state["sums"].items()}
        self._values, self._previous_seconds = dict(state["notes"]), state["seconds"]
        self._previous_joules = state.get("joules")
        self._previous_epoch_seconds, self._epoch_steps = state["epoch"]
