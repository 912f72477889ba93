"""Weights of a network for three channels, as the start of one for others."""

from collections.abc import Mapping

from torch import Tensor


def adapted_to(
    channels: int, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file with the first layer for so many channels, as timm adapts it.

    Of one channel the weights of the three are added; of more they are repeated in turn, times 3 / channels, so that
    a grey image gives what it gave.

    Args:
        channels: of the images.
        own: the network's tensors.
        tensors: of the file, whose names may have a prefix.

    Returns:
        All tensors, and in words what was done; empty where the first layer is not one for three channels.
    """
    from timm.models import adapt_input_conv

    first = {name: tensor for name, tensor in own.items() if tensor.ndim == 4 and tensor.shape[1] == channels}
    found = dict(tensors)
    for key, tensor in tensors.items():
        name = next((name for name in first if key == name or key.endswith(f".{name}")), None)
        if name is None or tensor.ndim != 4 or tensor.shape[1] != 3:
            continue
        if tensor.shape[0] == first[name].shape[0] and tensor.shape[2:] == first[name].shape[2:]:
            found[key] = adapt_input_conv(channels, tensor)
    return found, described(channels) if found.keys() and _differ(found, tensors) else ""


def described(channels: int) -> str:
    """What `adapted_to` does, in words."""
    rule = "their sum" if channels == 1 else f"repeated in turn, times 3/{channels}"
    return f"the first layer's weights for 3 channels were adapted to {channels}: {rule}"


def _differ(found: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    return any(found[key] is not tensors[key] for key in tensors)
