"""From the settings of a run to its optimizer and its schedule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from ssl_seg.engine.optim import (
    build_optimizer,
    build_param_groups,
    lr_at_step,
    read_betas,
    weight_decay_at_step,
)
from ssl_seg.engine.schedule import Schedule
from ssl_seg.errors import UsageError
from ssl_seg.results.planned_epochs import total_steps
from ssl_seg.utils.log import log

if TYPE_CHECKING:
    from ssl_seg.workflows.config import RunConfig


def configure_optimizer(
    config: "RunConfig", module: nn.Module, steps_per_epoch: int, *, early: bool = False
) -> tuple[Optimizer, Schedule]:
    """The optimizer of a module, and the schedule of the run.

    Args:
        config: resolved, see `PretrainConfig.resolved`. `backbone_lr` is for the parameters of `model.backbone`.
        module: what is trained.
        early: the run was started by version 0.1.0: it continues with the parameter groups that it had.
    """
    assert config.optimizer is not None and config.weight_decay is not None and config.warmup is not None
    assert config.schedule is not None and config.clip is not None
    backbone_lr, lr = getattr(config, "backbone_lr", None), config.lr or 0.0
    scales: dict[str, float] = {}
    if backbone_lr is not None:
        scales = {"model.backbone.": backbone_lr / lr} if lr else {"model.backbone.": 1.0, "": 0.0}
    if getattr(config, "layer_decay", None) is not None:
        scales = _by_layer(module, config, scales) | scales
    peak = lr or backbone_lr or 0.0
    declared = getattr(module, "param_groups", ())
    # of version 0.1.0: everything decayed that has two dimensions, and the optimizer's state is in that order
    groups = build_param_groups(module, config.weight_decay, scales, () if early else None, declared)
    steps = total_steps(config.epochs, config.max_steps, steps_per_epoch)
    warmup, schedule, start = round(config.warmup * steps), config.schedule, config.weight_decay
    lr_end, end = (getattr(config, name, None) for name in ("lr_end", "weight_decay_end"))
    plan = Schedule(
        total_steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
        lr_at=lambda step: lr_at_step(step, steps, peak, warmup, schedule, lr_end or 0.0),
        peak_lr=peak,
        max_grad_norm=config.clip,
        save_every_steps=config.save_every,
        weight_decay_at=None if end is None else lambda step: weight_decay_at_step(step, steps, start, end),
    )
    return build_optimizer(config.optimizer, groups, peak, **_moments(config)), plan


def _by_layer(module: Any, config: Any, scales: Mapping[str, float]) -> dict[str, float]:
    """Factors by full names of parameters, the longest first: no name is the beginning of a later one."""
    from ssl_seg.nn.layer_decay import layer_lr_scales

    if config.freeze:
        raise UsageError("--layer-decay has no effect with --freeze", next="one of them")
    base = scales.get("model.backbone.", 1.0)
    factors = layer_lr_scales(module.model.backbone, config.layer_decay)
    return {f"model.backbone.{name}": base * factors[name] for name in sorted(factors, key=len, reverse=True)}


def _moments(config: "RunConfig") -> dict[str, Any]:
    """How long the optimizer remembers, where the settings say so; those of fine-tuning do not."""
    momentum, betas = getattr(config, "momentum", None), getattr(config, "betas", None)
    return ({} if momentum is None else {"momentum": momentum}) | (
        {"betas": read_betas(betas)} if betas else {}
    )


def warn_of_accumulation(accumulate: int, module: nn.Module, what: str) -> None:
    """Say why `--accumulate` does not compute what the whole batch would give.

    Args:
        what: is trained, for people.
    """
    if accumulate == 1:
        return
    over = getattr(module, "loss_over", None)
    reasons: list[str] = {
        "image": [],
        "batch": [f"the loss of {what} compares images, and compares those of a part alone"],
    }.get(str(over), [f"{what} does not say whether its loss compares images (`loss_over`)"])
    if any(part.training and isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        reasons.append("BatchNorm takes its statistics from each part")
    if reasons:
        log.warning("--accumulate is not the whole batch in parts: %s", "; ".join(reasons))
