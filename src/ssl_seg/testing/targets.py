"""What a network that follows another one, as an EMA target does, must keep."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_NORM = nn.modules.batchnorm._BatchNorm
_ALIGNED = 0.99  # cosine above which a target moves straight towards an online parameter


@contextmanager
def watch_norms(method: nn.Module) -> Iterator[Callable[[list[str]], None]]:
    """Watch the BatchNorm layers of networks without gradients while they compute.

    Gives a function to be called after `after_step` with the parameters that it has moved: it holds the networks
    these belong to, the targets, to normalise by the batch, and to have running statistics that either
    their own batches move or `after_step`, but not both.
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
                f"{path} is in evaluation mode: a target normalises by the batch, as the online network does"
            )
            unmoved = all(map(torch.equal, statistics, after[path]))
            assert unmoved or all(map(torch.equal, after[path], _statistics(norms[path]))), (
                f"training_step and after_step both move the running statistics of {path}: make the target by "
                "make_ema_copy, whose statistics only update_ema moves"
            )

    after: dict[str, list[Tensor]] = {}
    try:
        yield check
    finally:
        after.update({path: _statistics(norms[path]) for path in before})
        for hook in hooks:
            hook.remove()


def check_direction(old: Mapping[str, Tensor], new: Mapping[str, Tensor], trained: set[str]) -> None:
    """Hold targets to small steps towards the network they follow.

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
                f"after_step moves {name} {share:.0%} of the way to {other}: a target keeps `decay` of itself, "
                "decay * target + (1 - decay) * online, as update_ema does"
            )


def _frozen_root(method: nn.Module, path: str) -> str:
    """The largest part around a module that has parameters, none of which is trained; "" if there is none."""
    names = path.split(".")
    for length in range(1, len(names) + 1):
        part = method.get_submodule(root := ".".join(names[:length]))
        trained = [parameter.requires_grad for parameter in part.parameters()]
        if trained and not any(trained):
            return root
    return ""


def _statistics(norm: nn.Module) -> list[Tensor]:
    return [buffer.detach().clone() for buffer in norm.buffers() if buffer.is_floating_point()]
