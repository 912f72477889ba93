"""The one training loop: it trains whatever returns a loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_seg.engine.accumulation import shares
from ssl_seg.engine.checkpoint_manager import CheckpointManager
from ssl_seg.engine.device import Device
from ssl_seg.engine.metric_logger import MetricLogger
from ssl_seg.engine.monitors import CollapseMonitor, FiniteCheck
from ssl_seg.engine.observers import Observers
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule, set_rates
from ssl_seg.engine.side_stream import BatchFn, SideStream
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.engine.stopping import Stopping
from ssl_seg.engine.train_step import TrainStep
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.train_progress import TrainProgress


def fit(
    module: nn.Module,
    batches: BatchFn,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    device: Device,
    run: Run,
    signals: SignalHandler,
    monitor: CollapseMonitor | None = None,
    on_epoch_end: Callable[[int], Mapping[str, float]] = lambda epoch: {},
    on_progress: Callable[[TrainProgress], None] = lambda progress: None,
    observers: Sequence[object] = (),
    stopping: Stopping | None = None,
) -> int:
    """Train, from the latest checkpoint if `run.resume`, to the last step or until `stopping`; return the steps done.

    Args:
        module: `forward` maps a micro-batch to `loss` and scalars to log; `after_step` is optional.
        batches: step -> its micro-batches; see `SideStream`. on_epoch_end: called after each epoch (from 1); returns scores to join.
        observers: objects with some of the observer hooks as methods; called in the main process.

    Raises:
        HealthError: not finite (no weight has moved), or collapsed. Stopped: by a signal, after saving.
        ResourceError: a checkpoint could not be written. PluginError: a plugin failed; with the step.
    """
    compute, stream = TrainStep(module, device), SideStream(batches, device.device)
    observed = Observers(observers if device.is_main else (), run)
    state = module, optimizer, schedule, device, run, signals, monitor, on_epoch_end, observed.epoch_end
    manager, finite = CheckpointManager(*state, stopping or Stopping()), FiniteCheck()
    logger, total_steps = manager.logger, schedule.total_steps
    after_step = getattr(module, "after_step", lambda progress: None)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    observed.run_start()
    step = manager.restore_or_init()
    inputs = logger.time_batch(stream, step) if step < total_steps else ()
    with manager, fenced(lambda: f"step {step + 1}, epoch {step // schedule.steps_per_epoch + 1}"):
        while step < total_steps and not manager.stopping.reason:
            # Forward and backward
            device.seed_rank_rng(step)
            lr = set_rates(optimizer, schedule, step)
            out, loss = _accumulate_gradients(module, compute, stream.ready(inputs), logger)
            # Check: meanwhile the next batch is prepared
            norm = finite.launch(loss, parameters)
            inputs = logger.time_batch(stream, step + 1) if step + 1 < total_steps else ()
            manager.check_finite(finite, out.get("embedding"), step, lr)
            # Update: the optimizer, then the method's own step (an EMA target)
            if schedule.max_grad_norm:
                torch.nn.utils.clip_grads_with_norm_(parameters, schedule.max_grad_norm, norm)
            optimizer.step()
            optimizer.zero_grad()
            after_step((step + 1) / total_steps)
            step += 1
            # Record: scores, checkpoints, signals, progress
            observed.step_end(step, out)
            manager.on_step_end(step)
            if progress := logger.progress(step, device.peak_memory()):
                on_progress(progress)
    observed.run_end()
    return step


def _accumulate_gradients(
    module: nn.Module, compute: TrainStep, inputs: Sequence[Any], logger: MetricLogger
) -> tuple[dict[str, Tensor], Tensor]:
    """Add up the gradients of all micro-batches; return the last one's output and the loss of all."""
    out, losses, count = {}, list[Tensor](), len(inputs)
    for micro_batch, weight in zip(inputs, shares(module, inputs), strict=True):
        out = compute(micro_batch, weight, alone=count == 1, last=len(losses) + 1 == count)
        logger.update(out, weight)
        losses.append(out["loss"].detach())
    return out, torch.stack(losses).sum()
