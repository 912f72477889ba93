"""The one training loop: it trains whatever returns a loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.engine.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from ssl_seg.engine.device import Device
from ssl_seg.engine.health import CollapseAlarm, FiniteCheck
from ssl_seg.engine.meter import Meter, Pulse
from ssl_seg.engine.optim import set_rate
from ssl_seg.engine.stop import Stop
from ssl_seg.errors import HealthError, Stopped
from ssl_seg.run import Run, log

Feed = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to save.

    Attributes:
        total: steps of the run.
        per_epoch: steps of an epoch.
        batch_size: images of a step.
        rate: the learning rate as a function of the step, counted from 0.
        clip: largest norm of the gradients; 0 leaves them as they are.
        save_every: steps between checkpoints; 0 saves at the end of an epoch once
            `save_seconds` have gone by.
        save_seconds: see `save_every`.
    """

    total: int
    per_epoch: int
    batch_size: int
    rate: Callable[[int], float]
    clip: float = 0.0
    save_every: int = 0
    save_seconds: float = 300.0


def fit(
    module: nn.Module,
    feed: Feed,
    optimizer: Optimizer,
    plan: Plan,
    *,
    device: Device,
    run: Run,
    stop: Stop,
    alarm: CollapseAlarm | None = None,
    on_epoch: Callable[[int], Mapping[str, float]] = lambda epoch: {},
    report: Callable[[Pulse], None] = lambda pulse: None,
) -> None:
    """Train until `plan.total` steps are done; go on from the newest checkpoint if `run.resume`.

    Args:
        module: its `forward` takes what `feed` gives and returns `loss` and scalars to log; its
            `after_step`, if it has one, is called right after the optimizer's step.
        feed: step -> the inputs of that step, one for each part of an accumulated batch.
        on_epoch: called after each epoch (from 1); its numbers join the epoch's scores.
        report: called with the state of the run about twice a second.

    Raises:
        HealthError: loss or gradient not finite (before any weight moves), or a collapse.
        Stopped: a signal came; everything is saved.
        ResourceError: a checkpoint could not be written; the older ones are whole.
    """
    forward = device.place(module)
    meter = Meter(plan.total, plan.per_epoch, plan.batch_size)
    saver = _Saver(run, module, optimizer, meter, alarm, plan, device)
    finite, after_step = FiniteCheck(), getattr(module, "after_step", None)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    step = saver.restore() if run.resume else saver.save(0)
    module.train()
    meter.start()
    inputs = meter.timed(feed, step) if step < plan.total else ()
    while step < plan.total:
        rate = plan.rate(step)
        set_rate(optimizer, rate)
        for part in inputs:
            with device.autocast():
                out: dict[str, Tensor] = forward(part)
            device.backward(out["loss"] / len(inputs))
            meter.add(out, 1.0 / len(inputs))
        norm = finite.ask(out["loss"], parameters)
        embedding = out.get("embedding")
        # the next batch is prepared while the device answers whether this one is sound
        inputs = meter.timed(feed, step + 1) if step + 1 < plan.total else ()
        try:
            finite.read(f"step {step + 1}, epoch {step // plan.per_epoch + 1}, lr {rate:.3g}")
            if alarm and embedding is not None and alarm.due(step):
                meter.note(alarm.look(embedding.detach(), step))
        except HealthError as error:
            error.kept = saver.newest
            raise
        if plan.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, plan.clip, norm)
        optimizer.step()
        optimizer.zero_grad()
        if after_step:
            after_step((step + 1) / plan.total)
        step += 1
        meter.step_done()
        if step % plan.per_epoch == 0:
            _end_epoch(step // plan.per_epoch, meter, on_epoch, run, step, device)
        saver.save_if_due(step)
        if pulse := meter.pulse(step, device.peak_memory()):
            report(pulse)
        if device.any(stop.signal > 0) and step < plan.total:
            saver.save(step)
            raise Stopped(stop.signal, kept=saver.newest, next=f"ssl-seg train --resume --out {run.folder}")


def _end_epoch(
    epoch: int,
    meter: Meter,
    on_epoch: Callable[[int], Mapping[str, float]],
    run: Run,
    step: int,
    device: Device,
) -> None:
    scores = meter.epoch_scores(step)
    scores |= on_epoch(epoch)
    if device.is_main:
        run.add_scores(scores)
    log.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.5g}" for k, v in scores.items()))
    meter.epoch_begins()


class _Saver:
    """When and what to save, and where to go on."""

    def __init__(
        self,
        run: Run,
        module: nn.Module,
        optimizer: Optimizer,
        meter: Meter,
        alarm: CollapseAlarm | None,
        plan: Plan,
        device: Device,
    ) -> None:
        self._run, self._module, self._optimizer = run, module, optimizer
        self._meter, self._alarm, self._plan, self._device = meter, alarm, plan, device
        self._last = monotonic()
        self._saved = -1
        self.newest: str | None = None

    def save(self, step: int) -> int:
        """Save now, unless this very step is saved; the first time shows that the disk works."""
        if self._device.is_main and step != self._saved:
            state = {"strikes": self._alarm.strikes if self._alarm else 0, "meter": self._meter.state()}
            path = save_checkpoint(self._run.checkpoints, step, self._module, self._optimizer, state)
            self.newest = str(path)
            self._run.set_status("running", step=step, checkpoint=path.name)
        self._saved, self._last = step, monotonic()
        return step

    def save_if_due(self, step: int) -> None:
        plan = self._plan
        by_step = plan.save_every > 0 and step % plan.save_every == 0
        by_clock = monotonic() - self._last >= plan.save_seconds and step % plan.per_epoch == 0
        if step == plan.total or by_step or (by_clock and not plan.save_every):
            self.save(step)

    def restore(self) -> int:
        path, refused = newest_checkpoint(self._run.checkpoints)
        for trouble in refused:
            log.warning("damaged checkpoint passed over: %s", trouble)
        state = load_checkpoint(path, self._module, self._optimizer)
        self._meter.restore(state["meter"])
        if self._alarm:
            self._alarm.strikes = state["strikes"]
        self.newest, self._saved = str(path), state["step"]
        if self._device.is_main:
            self._run.forget_scores_after(state["step"])
        return self._saved
