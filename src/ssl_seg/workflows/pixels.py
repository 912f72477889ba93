"""What a run knows of the pixels of its images: bands, range, channels, and how they are normalized."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ssl_seg.errors import DataError, UsageError, pluralize
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig, SegmentationConfig

if TYPE_CHECKING:
    from torch import nn

    from ssl_seg.augment.recipes import View
    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.registry import Registry

C = TypeVar("C", PretrainConfig, ClassificationConfig, SegmentationConfig)
_WAY = "-o data.bands=1,2,3  # numbered from 1; 1-13 is all of thirteen"


def is_measured(config: C) -> bool:
    """Whether the range of the pixels is asked for as percentiles, which the training images have to show."""
    return config.o.get("data", {}).get("range", "").startswith("p")


def with_measured_range(config: C, dataset: "Dataset") -> C:
    """Settings with the values of the training images in place of percentiles: all other images get the same."""
    levels = getattr(dataset, "levels", None)
    if not is_measured(config) or levels is None or levels.range is None:
        return config
    measured = ",".join(str(int(value) if value == int(value) else value) for value in levels.range)
    return config.with_options("data", {**config.o["data"], "range": measured})


def with_in_chans(config: C, channels: int, registry: "Registry") -> C:
    """Settings with the channels of the images as an option of the backbone, where they are not three.

    Raises:
        UsageError: the backbone, or its weights, are for another number.
    """
    from ssl_seg.utils.options import factory_options

    own = config.o.get("backbone", {})
    name = config.backbone or "resnet50"
    if (stated := own.get("in_chans", "3" if channels == 3 else None)) is not None:
        if stated != str(channels):
            whose = f"the weights in {config.init} are" if config.init else f"backbone {name} is"
            raise UsageError(f"{whose} for images of {stated} channels, and these have {channels}", next=_WAY)
        return config
    if "in_chans" not in factory_options(registry.factory("backbones", name)):
        raise UsageError(
            f"backbone {name} takes images of 3 channels, and these have {channels}",
            next="a network of timm, as --backbone resnet50; or -o data.bands=1,2,3",
        )
    return config.with_options("backbone", {**own, "in_chans": str(channels)})


def check_channels(channels: int, network: "nn.Module", whose: str) -> None:
    """See that a network is for images of so many channels.

    Raises:
        UsageError: it is not.
    """
    from ssl_seg.nn.layers import in_chans_of

    if channels != (wanted := in_chans_of(network)):
        have = pluralize(channels, "channel")
        raise UsageError(f"the network takes images of {wanted} channels, and {whose} have {have}", next=_WAY)


def check_same_channels(images: "ImageCache", others: "ImageCache | None", whose: str) -> None:
    """See that further images have the channels of the training images.

    Raises:
        DataError: they have not.
    """
    if others is not None and others.channels != images.channels:
        what = (
            f"{whose} has images of {others.channels} channels, and those of training have {images.channels}"
        )
        raise DataError(what, next=_WAY)


def normalization_of(
    images: "ImageCache",
    stated: Mapping[str, Any] | None,
    print_line: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`mean` and `std` of images in [0, 1]: as stated, measured on the training images, or ImageNet's.

    Args:
        images: of training.
        stated: by the initial weights or in Python; it holds where it is for as many channels.
        print_line: says what was measured.
    """
    from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD

    if stated is not None and len(stated["mean"]) == images.channels:
        return dict(stated)
    if not images.statistics:
        return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    found = {name: tuple(values) for name, values in images.statistics.items()}
    shown = (f"{name} {', '.join(f'{value:.4f}' for value in values)}" for name, values in found.items())
    print_line(f"normalization, measured on {len(images)} training images: {'; '.join(shown)}")
    return found


def print_left_out(views: Sequence["View"], channels: int, print_line: Callable[[str], None]) -> None:
    """Say which operations of colours are left out of the views, if any are."""
    from ssl_seg.augment.recipes import of_channels

    if names := of_channels(views, channels)[1]:
        have = pluralize(channels, "channel")
        print_line(f"views of {have}: without {', '.join(names)}, which are of three colours")
