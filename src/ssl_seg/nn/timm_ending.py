"""How a network of timm ends: which of its layers no feature map comes from.

Behind its last stage a network may have more. EfficientNet has a convolution there, whose map timm calls its
features; MobileNetV3 and ConvNeXt have layers behind the pooling that belong to the classifier; XCiT has blocks
for its class token alone. What no map comes from gets no gradient and would be handed over as random as it began.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ending:
    """What comes behind the stages.

    Attributes:
        final: channels of the map that `forward_features` gives, where layers with weights lie between
            it and the last stage; 0 where there are none.
        idle: names of the parameters that no map comes from, that one included.
        behind: names of those that no stage's map comes from.
    """

    final: int = 0
    idle: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()


def ending(name: str, arguments: dict[str, Any], indices: Collection[int]) -> Ending:
    """Look for it, without numbers: gradients of a network on the meta device.

    Args:
        name, arguments: of `timm.create_model`.
        indices: of the stages whose maps are taken.

    Returns:
        An empty one for networks that do not run without numbers.
    """
    return _ending(name, tuple(sorted(arguments.items())), tuple(indices))


@cache
def _ending(name: str, arguments: tuple[tuple[str, Any], ...], indices: tuple[int, ...]) -> Ending:
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.enable_grad():
            net = timm.create_model(name, pretrained=False, num_classes=0, **dict(arguments)).train()
            _, height, width = net.pretrained_cfg["input_size"]
            side, channels = dict(arguments).get("img_size"), dict(arguments).get("in_chans", 3)
            return _look(net, indices, torch.zeros(2, channels, side or height, side or width))
    except Exception:  # each family of networks fails in its own way where there are no numbers
        return Ending()


def _look(net: Any, indices: tuple[int, ...], images: Tensor) -> Ending:
    parameters = {key: p for key, p in net.named_parameters() if p.requires_grad}
    called: set[str] = set()
    for path, part in net.named_modules():
        part.register_forward_pre_hook(lambda _, __, path=path: called.add(path))
    options = {"indices": list(indices), "norm": True, "output_fmt": "NCHW"}
    final, maps = net.forward_intermediates(images, **options)

    def without_gradient(results: list[Tensor]) -> frozenset[str]:
        output_sum = torch.stack([result.float().sum() for result in results]).sum()
        found = torch.autograd.grad(
            output_sum, list(parameters.values()), retain_graph=True, allow_unused=True
        )
        return frozenset(key for key, gradient in zip(parameters, found, strict=True) if gradient is None)

    behind = without_gradient(maps)
    if isinstance(final, Tensor) and final.ndim == 4 and final.shape[-2:] == maps[-1].shape[-2:]:
        idle = without_gradient([*maps[:-1], final])
        if idle < behind:
            return Ending(final.shape[1], _uncalled(idle, called), behind)
    called.clear()
    net.forward_intermediates(images, **options, intermediates_only=True)
    return Ending(0, _uncalled(behind, called), behind)


def _uncalled(names: frozenset[str], called: set[str]) -> frozenset[str]:
    """Those whose layers do not run: they can be taken away."""
    return frozenset(name for name in names if name.rpartition(".")[0] not in called)


def leave_out(net: nn.Module, names: Collection[str]) -> None:
    """Take parameters away, and with them the layers that have no others."""
    for path, part in list(net.named_modules()):
        own = {f"{path}.{name}" for name, _ in part.named_parameters()}
        if path and own and own <= set(names):
            holder, _, child = path.rpartition(".")
            setattr(net.get_submodule(holder), child, nn.Identity())
    for name in [name for name, _ in net.named_parameters() if name in names]:
        holder, _, own_name = name.rpartition(".")
        net.get_submodule(holder).register_parameter(own_name, None)
