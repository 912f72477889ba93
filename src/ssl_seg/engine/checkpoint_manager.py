"""Checkpoints of a run: when to save, what to restore, and the end of an epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.distributed.collectives import all_gather
from ssl_seg.engine.checkpoint_writer import CheckpointWriter
from ssl_seg.engine.device import Device
from ssl_seg.engine.energy import energy_meter_for
from ssl_seg.engine.metric_logger import MetricLogger
from ssl_seg.engine.monitors import CollapseMonitor, FiniteCheck, assert_finite_state
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.engine.stopping import Stopping
from ssl_seg.errors import HealthError, ResourceError, Stopped
from ssl_seg.utils.log import log
from ssl_seg.weights.checkpoint import Snapshot, load_checkpoint, take_snapshot, write_checkpoint
from ssl_seg.weights.checkpoint_files import latest_valid_checkpoint, prune_checkpoints


@dataclass
class CheckpointManager:
    """Saves and restores a run, and ends its epochs.

    Attributes:
        on_epoch_end, stopping: see `fit`.
        on_scores: is called with the scores of an epoch; returns whether the run is to end.
        latest_checkpoint: path of the newest one.
    """

    module: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    device: Device
    run: Run
    signals: SignalHandler
    monitor: CollapseMonitor | None
    on_epoch_end: Callable[[int], Mapping[str, float]]
    on_scores: Callable[[int, Mapping[str, float]], bool]
    stopping: Stopping
    logger: MetricLogger = field(init=False)
    latest_checkpoint: str | None = None
    _writer: CheckpointWriter = field(default_factory=CheckpointWriter)
    _saved_step: int = -1
    _last_save_time: float = field(default_factory=monotonic)
    _asked: tuple[int, Callable[[], list[float]]] = (-1, lambda: [0.0, 0.0, 0.0])

    def __post_init__(self) -> None:
        schedule, energy = self.schedule, energy_meter_for(self.device.device)
        steps = schedule.total_steps, schedule.steps_per_epoch
        self.logger = MetricLogger(*steps, schedule.batch_size, energy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._writer.close(error)

    def restore_or_init(self) -> int:
        """Return the step to resume from; a new run saves at once, which shows that the disk works."""
        state = self._restore() if self.run.resume else {"step": 0}
        step: int = state["step"]
        self.device.assert_equal_across_ranks(step, "the step they resume from")
        self._claim_folder(state) if self.run.resume else self._save(0, wait=True)
        self.module.train()
        self.logger.start()
        self._finish_step(step)
        return step

    def on_step_end(self, step: int) -> None:
        """Count a step, and do what is due after it; `step` counts from 1."""
        self.logger.on_step_end()
        self._finish_step(step)

    def _finish_step(self, step: int) -> None:
        """Write an epoch's scores, save a checkpoint, and end the run after a signal, as far as they are due."""
        self._writer.check()
        signal, is_late, is_time_up = self._agree(step)
        if is_time_up and not self.stopping.reason:
            self.stopping.end_by_time()
        self.stopping.is_last = self._is_last(step)
        if self.logger.is_epoch_end(step, is_last=self.stopping.is_last):
            self._end_epoch(step)
            (signal,) = self.device.all_reduce_max(self.signals.signal)
        unfinished = not self._is_last(step) or self.logger.is_epoch_end(step, is_last=True)
        if unfinished and signal:
            self.signals.signal = int(signal)
            self._save(step, wait=True)
            raise Stopped(self.signals.signal, kept=self.latest_checkpoint, next=self.run.resume_command)
        every = self.schedule.save_every_steps
        if self._is_last(step) or (step % every == 0 if every else is_late):
            self._save(step, wait=self._is_last(step))

    def _agree(self, step: int) -> list[float]:
        """A signal, whether a checkpoint is due by the clock, and whether the time of the run is up.

        Each process has its own clock and may get its own signal: one answer for all. Of several processes it is that
        to the question of the step before, so that none waits for another.
        """
        is_late = monotonic() - self._last_save_time >= self.schedule.save_every_seconds
        flags = self.signals.signal, is_late, self.stopping.is_time_up(self.logger.seconds)
        asked, answer = step, self.device.start_all_reduce_max(*flags)
        if self.device.world_size > 1:
            (asked, answer), self._asked = self._asked, (step, answer)
        signal, late, is_time_up = answer()
        return [signal, late and asked > self._saved_step, is_time_up]

    def _is_last(self, step: int) -> bool:
        return step == self.schedule.total_steps or bool(self.stopping.reason)

    def _check_scores(self, epoch: int, scores: Mapping[str, float]) -> None:
        """End the run if its scores or an observer ask for it, in all processes."""
        if self.on_scores(epoch, scores):
            self.stopping.reason = "an observer returned 'stop'"
        if self.device.is_main:
            self.stopping.check_scores(self.run.scores())
        (stops,) = self.device.all_reduce_max(bool(self.stopping.reason))
        if stops:
            self.stopping.reason = self.stopping.reason or "as in the main process"

    def check_finite(self, finite: FiniteCheck, embedding: Tensor | None, step: int, lr: float) -> None:
        """Wait for the finite check of a step and, every few steps, check its embeddings for a collapse."""
        try:
            finite.wait(f"step {step + 1}, epoch {step // self.schedule.steps_per_epoch + 1}, lr {lr:.3g}")
            if self.monitor and self.monitor.should_check(step):
                self._check_collapse(self.monitor, embedding, step)
        except HealthError as error:
            self._writer.finish()  # weights that were not finite before this step are named there
            error.kept = self.latest_checkpoint
            raise

    def _check_collapse(self, monitor: CollapseMonitor, embedding: Tensor | None, step: int) -> None:
        if embedding is not None:
            self.logger.set_values(monitor.update(all_gather(embedding.detach()), step))
        else:
            log.warning("no `embedding` returned: collapse detection is off")
            self.monitor = None

    def _end_epoch(self, step: int) -> None:
        epoch = -(-step // self.schedule.steps_per_epoch)
        self.run.check_there()
        self._sync_metrics()
        scores = self.logger.epoch_scores(step)
        with self.logger.paused():
            scores |= self.on_epoch_end(epoch)
        if self.signals.received_on_any_rank(self.device):
            return  # `on_epoch_end` may have been cut short: the resumed run ends this epoch
        if self.device.is_main:
            self.run.append_scores(scores)
        log.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.5g}" for k, v in scores.items()))
        self._check_scores(epoch, scores)
        self.device.barrier()
        self.logger.start_epoch()
        self._saved_step = -1  # a checkpoint of this step does not hold the epoch's scores

    def _save(self, step: int, *, wait: bool = False) -> None:
        """Have a checkpoint written while training goes on, or until it is there."""
        if step != self._saved_step:
            self._sync_metrics()
            if self.device.is_main:
                self.run.check_there()
                state = {
                    "strikes": self.monitor.num_alerts if self.monitor else 0,
                    "meter": self.logger.state_dict(),
                }
                ended = self.stopping.reason if self.stopping.is_final else ""
                state |= self.run.kept() | {"ended": ended}
                self._writer.start(take_snapshot(step, self.module, self.optimizer, state), self._write)
            self._saved_step, self._last_save_time = step, monotonic()
        if wait:
            self._writer.finish()
            self.device.barrier()

    def _write(self, snapshot: Snapshot) -> None:
        """Write a checkpoint if it is worth it; in the writer's thread."""
        parameters = {name for name, _ in self.module.named_parameters()}
        assert_finite_state(snapshot.model, parameters, f"step {snapshot.step}", self.latest_checkpoint)
        try:
            path = write_checkpoint(self.run.checkpoints, snapshot)
        except ResourceError:
            self.run.check_there()
            raise
        self.latest_checkpoint = str(path)
        self.run.set_status("running", step=snapshot.step, checkpoint=path.name)

    def _sync_metrics(self) -> None:
        self.logger.sync(self.device.all_reduce_mean, self.device.world_size)

    def _restore(self) -> dict[str, Any]:
        """Restore the state in memory from the newest valid checkpoint; write nothing."""
        path, refused = latest_valid_checkpoint(self.run.checkpoints)
        for damage in refused:
            log.warning("skipping damaged checkpoint: %s; using %s", damage, path.name)
        state = load_checkpoint(path, self.module, self.optimizer)
        self.logger.load_state_dict(state["meter"])
        self.stopping.reason = state.get("ended", "")
        if self.monitor:
            self.monitor.num_alerts = state["strikes"]
        self.latest_checkpoint, self._saved_step = str(path), state["step"]
        return state

    def _claim_folder(self, state: dict[str, Any]) -> None:
        """Put the run's files where the checkpoint has them: from here on this process writes them."""
        if not self.device.is_main:
            return
        step: int = state["step"]
        # a row of this very step may be there although the checkpoint still has to end the epoch
        due = self.logger.is_epoch_end(step, is_last=self._is_last(step))
        self.run.restore(state.get("scores"), step - 1 if due else step)
        if due or step < self.schedule.total_steps:
            self.run.set_status("running", step=step, checkpoint=f"step-{step:06d}")
        prune_checkpoints(self.run.checkpoints, step)
