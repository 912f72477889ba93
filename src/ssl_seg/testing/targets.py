"""Checks of target networks, such as EMA copies."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_NORM = nn.modules.batchnorm._BatchNorm
_ALIGNED = 0.99  # cosine above which a target moves straight towards an online parameter


@contextmanager
def watch_norms(method: nn.Module) -> Iterator[Callable[[list[str]], None]]:
    """Monitor the BatchNorm layers of networks without gradients during the forward pass.

    Yields a function to be called after `after_step` with the parameters that it has updated. It checks that their
    networks, the targets, use batch statistics, and that running statistics are updated either by the forward
    pass or by `after_step`, but not by both.
    """
    norms = {path: part for path, part in method.named_modules() if isinstance(part, _NORM)}
    frozen = {path: _frozen_root(method, path) for path in norms}
    before = {path: _statistics(norms[path]) for path, root in frozen.items() if root}
    in_eval_mode: list[str] = []
    hooks = [
        norms[path].register_forward_pre_hook(
            lambda norm, _, path=path: in_eval_mode.append(path) if not norm.training else None
        )
        for path in before
    ]

    def check(moved: list[str]) -> None:
        for path, statistics in before.items():
            if not any(name.startswith(f"{frozen[path]}.") for name in moved):
                continue
            assert path not in in_eval_mode, (
                f"{path} is in eval mode: a target must use batch statistics, like the online network"
            )
            unmoved = all(map(torch.equal, statistics, after[path]))
            assert unmoved or all(map(torch.equal, after[path], _statistics(norms[path]))), (
                f"training_step and after_step both update the running statistics of {path}: create the target with "
                "make_ema_copy, whose statistics only update_ema updates"
            )

    after: dict[str, list[Tensor]] = {}
    try:
        yield check
    finally:
        after.update({path: _statistics(norms[path]) for path in before})
        for hook in hooks:
            hook.remove()


def check_direction(old: Mapping[str, Tensor], new: Mapping[str, Tensor], trained: set[str]) -> None:
    """Check that targets move by small steps towards the online network.

    Args:
        old, new: all parameters by name, before and after `after_step`.
        trained: the names of those that require gradients.
    """
    for name, start in old.items():
        if name in trained or start.numel() < 8 or torch.equal(start, new[name]):
            continue
        moved = (new[name] - start).flatten().double()
        for other in trained:
            way = old[other] - start if old[other].shape == start.shape else start.new_zeros(1)
            if len(moved) != way.numel() or not way.any():
                continue
            way = way.flatten().double()
            share = float(moved @ way / way.square().sum())
            aligned = float(torch.cosine_similarity(moved, way, dim=0)) > _ALIGNED
            assert not (aligned and 0.5 < share < 0.9999), (
                f"after_step moves {name} {share:.0%} of the way to {other}: expected "
                "decay * target + (1 - decay) * online, as in update_ema"
            )


def _frozen_root(method: nn.Module, path: str) -> str:
    """The outermost module around a path whose parameters are all frozen; "" if there is none."""
    names = path.split(".")
    for length in range(1, len(names) + 1):
        part = method.get_submodule(root := ".".join(names[:length]))
        trained = [parameter.requires_grad for parameter in part.parameters()]
        if trained and not any(trained):
            return root
    return ""


def _statistics(norm: nn.Module) -> list[Tensor]:
    return [buffer.detach().clone() for buffer in norm.buffers() if buffer.is_floating_point()]
