"""Any timm model as a feature pyramid, under its own parameter names."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Literal

import timm
from torch import Tensor, nn

from ssl_seg.base import Backbone
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl


class TimmBackbone(Backbone):
    """A timm network without its classifier.

    `state_dict()` has the names of the timm model (for ResNets also torchvision's), so a saved
    backbone loads into either library as it is. VGG's two fully connected layers, nine tenths of its
    weights, belong to the classifier: no map comes from them.

    Args:
        name: of the timm model.
        stem: `small` replaces a ResNet's 7x7 stride-2 convolution by a 3x3 of stride 1 and drops
            the max pooling, for images of 32 to 64 px; sixteen times the work.
        output_stride: image pixels per step of the deepest map: 8, 16 or 32. Less than the network's
            own 32 keeps maps large by atrous convolutions (Chen et al. 2017, arXiv:1706.05587), with
            the same weights. A ResNet-50 takes 1.5 times the operations at 16, 4.7 times at 8.

    Attributes:
        timm_call: the name and the arguments with which `timm.create_model` makes the same network;
            None with a small stem, which timm does not have.

    Raises:
        UsageError: the network gives no maps, or has no such stem or stride.
    """

    timm_call: tuple[str, dict[str, Any]] | None

    def __init__(
        self,
        name: str,
        *,
        stem: Literal["standard", "small"] = "standard",
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        self._name = name
        if stem == "small" and output_stride:
            raise UsageError(
                f"stem=small divides all strides by 4: it goes without output_stride={output_stride}"
            )
        self.net: Any
        if output_stride is None:
            self.net, arguments = _create(name)
        else:
            self.net, arguments = _create_dilated(name, output_stride), {"output_stride": output_stride}
        self.timm_call = (name, arguments) if stem == "standard" else None
        if hasattr(self.net, "pre_logits"):
            self.net.pre_logits = nn.Identity()
        if not hasattr(self.net, "forward_intermediates"):
            raise UsageError(
                f"backbone {name!r} gives no feature maps",
                next="ssl-seg list backbones  # those that do",
            )
        levels = [(info["num_chs"], info["reduction"]) for info in _levels(self.net)]
        if stem == "small":
            _use_small_stem(self.net, name)
            levels = [(channels, max(1, stride // 4)) for channels, stride in levels]
        self._indices = _chosen(levels)
        self.channels = [levels[index][0] for index in self._indices]
        self.strides = [levels[index][1] for index in self._indices]
        self._register_state_dict_hook(_without_net)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_net)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps; see `Backbone`.

        Raises:
            UsageError: the network takes no images of this size.
        """
        try:
            maps: list[Tensor] = self.net.forward_intermediates(
                images, indices=self._indices, norm=True, output_fmt="NCHW", intermediates_only=True
            )
        except AssertionError as error:  # how timm refuses a size
            height, width = images.shape[-2:]
            raise UsageError(
                f"backbone {self._name!r} takes no images of {height} x {width} pixels: {error}",
                next="another --image-size: often 224, or a multiple of 32",
            ) from error
        return maps


def _create(name: str) -> tuple[Any, dict[str, Any]]:
    """The model without its classifier; transformers for any image size, if they can; and how."""
    for any_size in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **any_size), any_size
        except TypeError:
            continue
    raise AssertionError("unreachable: the last try has no arguments to refuse")


def _create_dilated(name: str, output_stride: int) -> Any:
    """The model with its last stages dilated, so that its deepest map has the stride asked for."""
    try:
        net = timm.create_model(name, pretrained=False, num_classes=0, output_stride=output_stride)
    except Exception as error:  # each family of networks refuses in its own way
        raise _cannot_dilate(name, output_stride) from error
    if _levels(net)[-1]["reduction"] != output_stride:
        raise _cannot_dilate(name, output_stride)
    return net


def _cannot_dilate(name: str, output_stride: int) -> UsageError:
    return UsageError(
        f"backbone {name!r} cannot have an output stride of {output_stride}",
        next="without output_stride, or a ResNet: --backbone resnet50 -o backbone.output_stride=8",
    )


def _levels(net: Any) -> list[dict[str, Any]]:
    info = net.feature_info
    return list(getattr(info, "info", info))


def _chosen(levels: list[tuple[int, int]]) -> list[int]:
    """All levels of a pyramid; of a plain transformer's equal blocks, four evenly spaced ones."""
    if len(levels) > 6 and len({stride for _, stride in levels}) == 1:
        return [len(levels) * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
    return list(range(len(levels)))


def _use_small_stem(net: Any, name: str) -> None:
    conv = getattr(net, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not hasattr(net, "maxpool"):
        raise UsageError(
            f"stem=small needs a ResNet with a plain first convolution, which {name!r} has not",
            next="ssl-seg train ... --backbone resnet18 -o backbone.stem=small",
        )
    net.conv1 = nn.Conv2d(3, conv.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()


def _without_net(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    for key in [key for key in state if key.startswith(prefix + "net.")]:
        state[prefix + key[len(prefix) + 4 :]] = state.pop(key)


def _with_net(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + "net." + key[len(prefix) :]] = state.pop(key)


@cache
def _names() -> dict[str, None]:
    return dict.fromkeys(timm.list_models())


class _Models(Mapping[str, Callable[..., TimmBackbone]]):
    """All of timm's names, without building anything."""

    def __getitem__(self, name: str) -> Callable[..., TimmBackbone]:
        if name not in _names():
            raise KeyError(name)
        return partial(TimmBackbone, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


@hookimpl
def backbones() -> Mapping[str, Callable[..., TimmBackbone]]:
    return _Models()
