"""The one training loop: it trains whatever returns a loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.distributed.collectives import all_gather
from ssl_seg.engine.accumulation import shares
from ssl_seg.engine.device import Device
from ssl_seg.engine.energy import energy_of
from ssl_seg.engine.metric_logger import Meter
from ssl_seg.engine.monitors import CollapseAlarm, FiniteCheck, check_weights
from ssl_seg.engine.optim import set_rate
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Plan
from ssl_seg.engine.signals import Stop
from ssl_seg.errors import HealthError, Stopped
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.log import log
from ssl_seg.utils.pulse import Pulse
from ssl_seg.weights.checkpoint import load_checkpoint, save_checkpoint
from ssl_seg.weights.checkpoint_files import newest_checkpoint, tidy

Feed = Callable[[int], Sequence[Any]]


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
    after_epoch: Callable[[int, Mapping[str, float]], None] = lambda epoch, scores: None,
    report: Callable[[Pulse], None] = lambda pulse: None,
) -> None:
    """Train until `plan.total` steps are done; go on from the newest checkpoint if `run.resume`.

    Args:
        module: its `forward` takes what `feed` gives and returns `loss` and scalars to log; its
            `after_step`, if it has one, is called right after the optimizer's step.
        feed: step -> the inputs of that step, one for each part of an accumulated batch.
        on_epoch: called after each epoch (from 1); its numbers join the epoch's scores.
        after_epoch: called with the epoch and all its scores, once they are written down.
        report: called with the state of the run about twice a second.

    Raises:
        HealthError: loss or gradient not finite (before any weight moves), or a collapse.
        Stopped: a signal came; everything is saved.
        ResourceError: a checkpoint could not be written; the older ones are whole.
        PluginError: code of a plugin failed; with the step.
    """
    forward = device.prepare(module)
    meter = Meter(plan.total, plan.per_epoch, plan.batch_size, energy_of(device.device))
    keeper = _Keeper(module, optimizer, plan, device, run, stop, meter, alarm, on_epoch, after_epoch)
    finite, after_step = FiniteCheck(), getattr(module, "after_step", lambda progress: None)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    step = keeper.begin()
    inputs = meter.timed(feed, step) if step < plan.total else ()
    with fenced(lambda: f"step {step + 1}, epoch {step // plan.per_epoch + 1}"):
        while step < plan.total:
            device.seed_rank_rng(step)
            set_rate(optimizer, rate := plan.rate(step), plan.peak, step / plan.total)
            out, loss = _gradients(module, forward, inputs, device, meter)
            norm = finite.ask(loss, parameters)
            # the next batch is prepared while the device answers whether this one is sound
            inputs = meter.timed(feed, step + 1) if step + 1 < plan.total else ()
            keeper.check(finite, out.get("embedding"), step, rate)
            if plan.clip:
                torch.nn.utils.clip_grads_with_norm_(parameters, plan.clip, norm)
            optimizer.step()
            optimizer.zero_grad()
            after_step((step + 1) / plan.total)
            step += 1
            meter.step_done()
            keeper.settle(step)
            if pulse := meter.pulse(step, device.peak_memory()):
                report(pulse)


def _gradients(
    module: nn.Module, forward: Any, inputs: Sequence[Any], device: Device, meter: Meter
) -> tuple[dict[str, Tensor], Tensor]:
    """Add up the gradients of all parts of a batch; what the last part gave, and the loss of all."""
    out, losses = {}, []
    for part, share in zip(inputs, shares(module, inputs), strict=True):
        with device.autocast():
            out = forward(part)
        device.backward(out["loss"] * share)
        meter.add(out, share)
        losses.append(out["loss"].detach())
    return out, torch.stack(losses).sum()


@dataclass
class _Keeper:
    """Sees to it that nothing is lost: scores, checkpoints, and where to go on."""

    module: nn.Module
    optimizer: Optimizer
    plan: Plan
    device: Device
    run: Run
    stop: Stop
    meter: Meter
    alarm: CollapseAlarm | None
    on_epoch: Callable[[int], Mapping[str, float]]
    after_epoch: Callable[[int, Mapping[str, float]], None]
    newest: str | None = None
    _saved: int = -1
    _last: float = field(default_factory=monotonic)

    def begin(self) -> int:
        """The step to go on from; a new run saves at once, which shows that the disk works."""
        state = self._restore() if self.run.resume else {"step": 0}
        step: int = state["step"]
        self.device.assert_equal_across_ranks(step, "the step they go on from")
        self._take_over(state) if self.run.resume else self._save(0)
        self.module.train()
        self.meter.start()
        self.settle(step)
        return step

    def settle(self, step: int) -> None:
        """What comes after a step: an epoch's scores, a checkpoint, the end if it was asked for."""
        if self.meter.epoch_is_due(step):
            self._end_epoch(step)
        unfinished = step < self.plan.total or self.meter.epoch_is_due(step)
        # each process has its own clock and may get its own signal: one answer for all
        signal, due = self.device.all_reduce_max(self.stop.signal, self._is_due(step))
        if unfinished and signal:
            self.stop.signal = int(signal)
            self._save(step)
            raise Stopped(self.stop.signal, kept=self.newest, next=self.run.again)
        if due:
            self._save(step)

    def check(self, finite: FiniteCheck, embedding: Tensor | None, step: int, rate: float) -> None:
        """Read the answer about the numbers of a step and, now and then, look at its embeddings."""
        try:
            finite.read(f"step {step + 1}, epoch {step // self.plan.per_epoch + 1}, lr {rate:.3g}")
            if self.alarm and self.alarm.due(step):
                self._look(self.alarm, embedding, step)
        except HealthError as error:
            error.kept = self.newest
            raise

    def _look(self, alarm: CollapseAlarm, embedding: Tensor | None, step: int) -> None:
        if embedding is not None:
            self.meter.note(alarm.look(all_gather(embedding.detach()), step))
        else:
            log.warning("the method returns no `embedding`: a collapse would not be noticed")
            self.alarm = None

    def _end_epoch(self, step: int) -> None:
        epoch = step // self.plan.per_epoch
        self.run.check_there()
        self._share()
        scores = self.meter.epoch_scores(step)
        with self.meter.aside():
            scores |= self.on_epoch(epoch)
        if self.stop.came(self.device):
            return  # `on_epoch` may have been cut short: the resumed run ends this epoch
        if self.device.is_main:
            self.run.add_scores(scores)
        log.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.5g}" for k, v in scores.items()))
        self.after_epoch(epoch, scores)
        self.device.barrier()
        self.meter.epoch_begins()
        self._saved = -1  # what a checkpoint of this very step holds is no longer all

    def _is_due(self, step: int) -> bool:
        plan = self.plan
        if step == plan.total:
            return True
        if plan.save_every:
            return step % plan.save_every == 0
        return monotonic() - self._last >= plan.save_seconds

    def _save(self, step: int) -> None:
        if step == self._saved:
            return
        check_weights(self.module, f"step {step}", self.newest)
        self._share()
        if self.device.is_main:
            self.run.check_there()
            state = {"strikes": self.alarm.strikes if self.alarm else 0, "meter": self.meter.state()}
            state |= self.run.kept()
            path = save_checkpoint(self.run.checkpoints, step, self.module, self.optimizer, state)
            self.newest = str(path)
            self.run.set_status("running", step=step, checkpoint=path.name)
        self.device.barrier()
        self._saved, self._last = step, monotonic()

    def _share(self) -> None:
        self.meter.share(self.device.all_reduce_mean, self.device.world_size)

    def _restore(self) -> dict[str, Any]:
        """Put everything in memory where the newest checkpoint has it; nothing is written."""
        path, refused = newest_checkpoint(self.run.checkpoints)
        for trouble in refused:
            log.warning("damaged checkpoint passed over: %s; using %s", trouble, path.name)
        state = load_checkpoint(path, self.module, self.optimizer)
        self.meter.restore(state["meter"])
        if self.alarm:
            self.alarm.strikes = state["strikes"]
        self.newest, self._saved = str(path), state["step"]
        return state

    def _take_over(self, state: dict[str, Any]) -> None:
        """From here on what lies in the run's folder is this process's to write."""
        if not self.device.is_main:
            return
        step: int = state["step"]
        # a row of this very step may be there although the checkpoint still has to end the epoch
        due = self.meter.epoch_is_due(step)
        self.run.restore(state.get("scores"), step - 1 if due else step)
        if due or step < self.plan.total:
            self.run.set_status("running", step=step, checkpoint=f"step-{step:06d}")
        tidy(self.run.checkpoints, step)
