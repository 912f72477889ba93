"""Parameter groups, optimizers, and schedules as functions of the step."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.foreign import wrong
from ssl_seg.utils.training_recipe import ParamGroup

OPTIMIZERS = ("adamw", "adam", "sgd", "lars")
MOMENTUM, BETAS = ("sgd", "lars"), ("adamw", "adam")  # those that take the one or the other
SCHEDULES = ("cosine", "constant", "poly")


def undecayed(module: nn.Module) -> list[str]:
    """Names of the parameters that the module and its parts want without weight decay.

    A part says so with timm's `no_weight_decay()`, which names its own parameters: class tokens,
    positions, tables of relative positions.
    """
    known = dict(module.named_parameters())
    names: dict[str, None] = {}
    for path, part in module.named_modules():
        declare = getattr(part, "no_weight_decay", None)
        if callable(declare):
            own = declare()
            if not isinstance(own, Iterable) or not all(isinstance(name, str) for name in own):
                raise wrong(part, "no_weight_decay() must return parameter names")
            names |= dict.fromkeys(f"{path}.{name}" if path else name for name in sorted(own))
    return [name for name in names if name in known]


def build_param_groups(
    module: nn.Module,
    weight_decay: float,
    scales: Mapping[str, float] | None = None,
    spared: Collection[str] | None = None,
    declared: Sequence[ParamGroup] = (),
) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Biases and normalisation parameters (one dimension or none) neither decay nor take part in
    LARS's adaptation, as in BYOL and SimCLR; nor do those that `undecayed` names.

    Args:
        module: its parameters that require gradients are taken.
        weight_decay: of the others.
        scales: factor on the learning rate for parameters whose name starts with the key.
        spared: names in place of those of `undecayed`.
        declared: what a method says of parts of it.

    Returns:
        Groups with `params`, `weight_decay`, `scale`, and `adapt` for LARS; where it is declared also
        `constant_lr` and `frozen_until`.

    Raises:
        PluginError: a declared prefix fits no parameter.
    """
    groups: dict[tuple[bool, float, ParamGroup | None], list[nn.Parameter]] = {}
    spared = undecayed(module) if spared is None else spared
    unused = list(declared)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = next((s for key, s in (scales or {}).items() if name.startswith(key)), 1.0)
            own = next((each for each in declared if name.startswith(each.prefix)), None)
            unused = [each for each in unused if each is not own]
            decays = parameter.ndim > 1 and name not in spared
            if own is not None:
                scale *= own.lr_scale
                decays = decays if own.weight_decay is None else own.weight_decay
            groups.setdefault((decays, scale, own), []).append(parameter)
    if unused:
        raise wrong(module, f"no trained parameter's name begins with {unused[0].prefix!r} (param_groups)")
    return [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "scale": scale, "adapt": decays}
        | ({"constant_lr": True} if own and own.constant_lr else {})
        | ({"frozen_until": own.frozen_until} if own and own.frozen_until else {})
        for (decays, scale, own), members in groups.items()
    ]


def build_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Optimizer:
    """Make `adamw`, `adam`, `sgd` (with momentum) or `lars`; fused where torch has it.

    Args:
        name: of the optimizer.
        groups: see `build_param_groups`.
        lr: the learning rate.
        momentum: of SGD and LARS.
        betas: of Adam and AdamW.

    Raises:
        UsageError: an unknown name.
    """
    if check_optimizer(name) == "lars":
        from timm.optim.lars import Lars

        for group in groups:  # timm's Lars adapts where there is decay, or where it is told to
            group["always_adapt"] = group["adapt"]
        lars: Optimizer = Lars(groups, lr=lr, momentum=momentum)
        return lars
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)


def check_optimizer(name: str) -> str:
    """The name itself.

    Raises:
        UsageError: there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UsageError(
            f"no optimizer {name!r}{did_you_mean(name, OPTIMIZERS)}", next=f"one of {', '.join(OPTIMIZERS)}"
        )
    return name


def are_betas(value: object) -> bool:
    """Whether these are two numbers in [0, 1)."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in value)


def read_betas(text: str) -> tuple[float, float]:
    """`0.9,0.95` -> (0.9, 0.95).

    Raises:
        UsageError: these are no two numbers in [0, 1).
    """
    with suppress(ValueError):
        betas = tuple(map(float, text.split(",")))
        if are_betas(betas):
            return betas[0], betas[1]
    raise UsageError(f"betas must be two numbers in [0, 1), got {text!r}", next="--betas 0.9,0.999")


def scale_lr(optimizer: str, lr: float, batch_size: int) -> float:
    """A learning rate stated for a batch of 256, for another batch.

    In proportion for SGD and LARS (Goyal et al. 2017). Adam and AdamW scale their steps themselves:
    theirs stays.
    """
    return lr * batch_size / 256 if optimizer in ("sgd", "lars") else lr


def lr_at_step(
    step: int, total_steps: int, peak_lr: float, warmup: int = 0, schedule: str = "cosine", end: float = 0.0
) -> float:
    """The learning rate of a step, counted from 0.

    It rises in a line over `warmup` steps, then falls to `end` along half a cosine (`cosine`), as
    `(1 - t) ** 0.9` (`poly`), or stays at its peak (`constant`).
    """
    if step < warmup:
        return peak_lr * (step + 1) / warmup
    t = (step - warmup) / max(1, total_steps - warmup)
    if schedule == "constant":
        return peak_lr
    if schedule == "poly":
        return end + (peak_lr - end) * float((1.0 - t) ** 0.9)
    return end + (peak_lr - end) * 0.5 * (1.0 + math.cos(math.pi * t))


def weight_decay_at_step(step: int, total_steps: int, start: float, end: float) -> float:
    """The weight decay of a step, counted from 0: from `start` to `end` along half a cosine, without warm-up."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * step / total_steps))


def set_lr(optimizer: Optimizer, rate: float, peak_lr: float = 0.0, progress: float = 1.0) -> None:
    """Give every group the rate times its own scale; see `ParamGroup` for what a method may declare.

    Args:
        rate: of this step.
        peak_lr: of the run, for groups whose rate is constant.
        progress: the part of the run that is done before this step, in [0, 1).
    """
    for group in optimizer.param_groups:
        rate_of_group = peak_lr if group.get("constant_lr") else rate
        # without a rate nothing decays either; what is frozen by it keeps its place in the graph, as DDP needs it
        is_frozen = progress < group.get("frozen_until", 0.0)
        group["lr"] = 0.0 if is_frozen else rate_of_group * group["scale"]


def set_weight_decay(optimizer: Optimizer, weight_decay: float) -> None:
    """Give it to every group that decays."""
    for group in optimizer.param_groups:
        if group["adapt"]:
            group["weight_decay"] = weight_decay
