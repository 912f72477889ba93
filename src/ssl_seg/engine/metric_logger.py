"""What a run has to tell: sums that stay on the device until they are read, and the clock."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ssl_seg.engine.energy import Energy
from ssl_seg.utils.pulse import Pulse

_INTERVAL = 0.5


class Meter:
    """Sums and times of one run.

    Args:
        total, per_epoch: steps.
        batch_size: images of a step.
        energy: counts that of this process.
    """

    def __init__(self, total: int, per_epoch: int, batch_size: int, energy: Energy | None = None) -> None:
        self.total, self.per_epoch, self.batch_size = total, per_epoch, batch_size
        self._sums: dict[str, Tensor] = {}
        self._notes: dict[str, float] = {}
        self._loss: Tensor | None = None
        self._earlier = 0.0  # seconds of training in earlier processes of this run
        self._energy = energy or Energy(None)
        self._earlier_joules: float | None = 0.0  # likewise; None: not all of them could tell
        self._joules: float | None = None  # with those of the processes beside this one, when last shared
        self._epoch_earlier, self._epoch_steps = 0.0, 0  # of the current epoch, likewise
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self._started = self._shown = self._epoch_started = perf_counter()
        self._fresh, self._fed = 0, 0.0
        self._aside, self._aside_joules = 0.0, 0.0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done inside is no training (a validation, a probe): neither its time nor its energy counts."""
        started, joules = perf_counter(), self._energy.joules()
        try:
            yield
        finally:
            self._aside += perf_counter() - started
            self._aside_joules += self._energy.joules() - joules

    def timed(self, feed: Callable[[int], Sequence[Any]], step: int) -> Sequence[Any]:
        """Call `feed`, and remember how long it took."""
        started = perf_counter()
        inputs = feed(step)
        self._fed += perf_counter() - started
        return inputs

    def add(self, out: Mapping[str, Tensor], share: float) -> None:
        """Take in one part of a step, which counts for `share` of it. Only scalars count."""
        self._loss = out["loss"].detach()
        for name, value in out.items():
            if value.ndim == 0:
                part = value.detach().double() * share
                before = self._sums.get(name)
                self._sums[name] = part if before is None else before.to(part.device) + part

    def share(self, mean: Callable[..., Sequence[float]], ranks: int) -> None:
        """Put the means over all processes in the place of this one's sums; `mean`: see `Device`."""
        joules, known = mean(self._energy.joules() - self._aside_joules, float(self._energy.known))
        told = known == 1.0 and self._earlier_joules is not None
        self._joules = (self._earlier_joules or 0.0) + joules * ranks if told else None
        if not self._sums:
            return
        means = mean(*(value.item() for value in self._sums.values()))
        self._sums = {
            name: torch.full_like(value, number)
            for (name, value), number in zip(self._sums.items(), means, strict=True)
        }

    def note(self, numbers: Mapping[str, float]) -> None:
        """Remember numbers as they are: the last ones of an epoch are its scores."""
        self._notes.update(numbers)

    def step_done(self) -> None:
        """Count a step."""
        self._fresh += 1
        self._epoch_steps += 1

    def epoch_scores(self, step: int) -> dict[str, float]:
        """The means of the epoch that ends with `step`."""
        speed = self.batch_size * self._epoch_steps / max(1e-9, self._epoch_seconds)
        scores = {"epoch": step // self.per_epoch, "step": step, "seconds": round(self.seconds, 3)}
        scores["images_per_second"] = round(speed, 2)
        if self._joules is not None:
            scores["energy_wh"] = round(self._joules / 3600, 4)
        scores |= {name: (value / self.per_epoch).item() for name, value in self._sums.items()}
        return scores | self._notes

    def epoch_begins(self) -> None:
        """Start an epoch, and its clock: what came between the epochs does not count."""
        self._sums, self._notes = {}, {}
        self._epoch_earlier, self._epoch_steps, self._epoch_started = 0.0, 0, perf_counter()

    def epoch_is_due(self, step: int) -> bool:
        """Whether `step` ends an epoch whose scores have not been taken in."""
        return bool(self._sums) and step % self.per_epoch == 0

    @property
    def seconds(self) -> float:
        """Of training, over all processes of the run, without what was done `aside`."""
        return self._earlier + perf_counter() - self._started - self._aside

    @property
    def _epoch_seconds(self) -> float:
        return self._epoch_earlier + perf_counter() - self._epoch_started

    def pulse(self, step: int, memory: int) -> Pulse | None:
        """The state of the run, unless the last one was told a moment ago."""
        now = perf_counter()
        if now - self._shown < _INTERVAL and step < self.total:
            return None
        self._shown = now
        self._energy.joules()  # often enough
        elapsed = now - self._started
        per_step = elapsed / max(1, self._fresh)
        return Pulse(
            step=step,
            total=self.total,
            epoch=(step - 1) // self.per_epoch + 1,
            epochs=math.ceil(self.total / self.per_epoch),
            loss=self._loss.item() if self._loss is not None else math.nan,
            images_per_second=self.batch_size / per_step,
            remaining=per_step * (self.total - step),
            data_share=self._fed / elapsed,
            memory=memory,
            fresh=self._fresh,
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on in the middle of an epoch."""
        sums = {name: value.item() for name, value in self._sums.items()}
        epoch = [self._epoch_seconds, self._epoch_steps]
        clock = {"seconds": self.seconds, "joules": self._joules, "epoch": epoch}
        return {"sums": sums, "notes": self._notes} | clock

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._sums = {k: torch.tensor(v, dtype=torch.float64) for k, v in state["sums"].items()}
        self._notes, self._earlier = dict(state["notes"]), state["seconds"]
        self._earlier_joules = state.get("joules")
        self._epoch_earlier, self._epoch_steps = state["epoch"]
