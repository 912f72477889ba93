"""What an SSL method is made of, for `run.toml`."""

from typing import Any

from torch import nn


def module_summary(method: nn.Module) -> dict[str, dict[str, Any]]:
    """The direct submodules of a method, in the order in which it declares them.

    Returns:
        Name -> `parameters`, their number; `trained`, whether the optimizer changes them; `follows`, for a module that it
        does not change: the trained one of equal shapes, of which it is a moving average.
    """
    children = dict(method.named_children())
    trained = {name for name, each in children.items() if any(p.requires_grad for p in each.parameters())}
    found: dict[str, dict[str, Any]] = {}
    followed: set[str] = set()
    for name, each in children.items():
        found[name] = {"parameters": sum(p.numel() for p in each.parameters()), "trained": name in trained}
        if name in trained or not _shapes(each):
            continue
        same = [
            other
            for other in children
            if other in trained - followed and _shapes(children[other]) == _shapes(each)
        ]
        # of several twins the one with the same end of its name: `target_projector` follows `projector`
        same.sort(key=lambda other: not name.endswith(other))
        if same:
            found[name]["follows"] = same[0]
            followed.add(same[0])
    return found


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters()]
