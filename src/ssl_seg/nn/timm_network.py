"""How a network of timm is made: for any image size, with another stride, with a small stem."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
from timm.layers import PatchEmbed
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.hrnet import HighResolutionNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ssl_seg.errors import UsageError
from ssl_seg.utils.entry_points import short_error


def create(name: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model without its classifier; transformers for any image size, if they can; and how.

    Args:
        name: of the model.
        options: of timm.

    Raises:
        UsageError: the model does not take an option.
    """
    for any_size in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, **any_size, **options)
        except TypeError:
            continue
        except Exception as error:  # each family of networks refuses in its own way
            raise _refused(name, options, error) from error
        return net, {**any_size, **options}
    raise _refused(name, options, None)


def _refused(name: str, options: dict[str, Any], error: Exception | None) -> UsageError:
    stated = ", ".join(f"{key}={value}" for key, value in options.items())
    reason = f": {short_error(error)}" if error else ""
    return UsageError(f"backbone {name!r} does not support {stated}{reason}", next=f"ssl-seg list {name}")


def create_dilated(name: str, output_stride: int, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model with its last stages dilated, so that its deepest map has the stride asked for; and how.

    Raises:
        UsageError: it cannot have it.
    """
    stated = {"output_stride": output_stride, **options}
    try:
        net = timm.create_model(name, pretrained=False, num_classes=0, **stated)
    except Exception as error:  # each family of networks refuses in its own way
        raise _cannot_dilate(name, output_stride) from error
    if levels_of(net)[-1]["reduction"] != output_stride:
        raise _cannot_dilate(name, output_stride)
    return net, stated


def checkpoint_activations(net: Any, name: str) -> None:
    """Compute activations a second time in the backward pass instead of keeping them.

    Raises:
        UsageError: the network cannot.
    """
    try:
        net.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise UsageError(
            f"backbone {name!r} does not support checkpointing", next="omit -o backbone.checkpointing"
        ) from error


def _cannot_dilate(name: str, output_stride: int) -> UsageError:
    return UsageError(
        f"backbone {name!r} does not support output stride {output_stride}",
        next="omit output_stride, or use a ResNet: --backbone resnet50 -o backbone.output_stride=8",
    )


def levels_of(net: Any) -> list[dict[str, Any]]:
    """What timm says of each map: `num_chs`, `reduction`, ..."""
    info = net.feature_info
    return list(getattr(info, "info", info))


def evenly_spaced(levels: list[tuple[int, int]]) -> list[int]:
    """All levels of a pyramid; of a plain transformer's equal blocks, four evenly spaced ones."""
    if len(levels) > 6 and len({stride for _, stride in levels}) == 1:
        return [len(levels) * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
    return list(range(len(levels)))


def use_small_stem(net: Any, name: str) -> None:
    """Replace a ResNet's first convolution and its pooling by a 3x3 convolution of stride 1.

    Raises:
        UsageError: it is no such network.
    """
    conv = getattr(net, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not hasattr(net, "maxpool"):
        raise UsageError(
            f"stem=small requires a ResNet with a standard stem convolution; {name!r} has none",
            next="ssl-seg train ... --backbone resnet18 -o backbone.stem=small",
        )
    net.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()


def needed_multiple(net: Any) -> int:
    """What a network needs sides of images to be multiples of: the side of patches that it does not pad.

    A ConvNeXt drops what a step of its stages does not cover, and takes no image below 32 px.
    """
    if isinstance(net, HighResolutionNet | ConvNeXt):
        return 32
    embed = getattr(net, "patch_embed", None)
    if not isinstance(embed, PatchEmbed) or embed.dynamic_img_pad:
        return 1
    return math.lcm(*embed.patch_size)


def has_tokens(net: Any) -> bool:
    """Whether `tokens_of` reads it: a plain transformer of equal patches that do not overlap."""
    return isinstance(net, VisionTransformer | Eva) and type(net.patch_embed) is PatchEmbed


@contextmanager
def size_errors(name: str, images: Tensor) -> Iterator[None]:
    """Turn timm's refusal of an image size into a UsageError."""
    try:
        yield
    except AssertionError as error:
        height, width = images.shape[-2:]
        raise UsageError(
            f"backbone {name!r} does not support {height} x {width} images: {error}",
            next="another --image-size: often 224, or a multiple of 32",
        ) from error
