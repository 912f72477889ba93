"""Any timm model as a feature pyramid, under its own parameter names."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.timm_ending import Ending, ending, leave_out


class TimmBackbone(Backbone):
    """A timm network without its classifier.

    `state_dict()` has the names of the timm model (for ResNets also torchvision's), so a saved
    backbone loads into either library as it is. The deepest map is that of timm's `forward_features`
    where layers with weights lie behind the last stage, as in EfficientNet. Layers that no map comes
    from are left out, for they would never learn: VGG's two fully connected ones, nine tenths of its
    weights, MobileNetV3's `conv_head`, ConvNeXt's `head.norm`, the class token of XCiT.

    Args:
        name: of the timm model.
        stem: `small` replaces a ResNet's 7x7 stride-2 convolution by a 3x3 of stride 1 and drops
            the max pooling, for images of 32 to 64 px; sixteen times the work.
        output_stride: image pixels per step of the deepest map: 8, 16 or 32. Less than the network's
            own 32 keeps maps large by atrous convolutions (Chen et al. 2017, arXiv:1706.05587), with
            the same weights. A ResNet-50 takes 1.5 times the operations at 16, 4.7 times at 8.
        idle_layers: as version 0.1.0 made it: the deepest map is that of the last stage, and layers
            behind it stay in the network as they began. Files of that version ask for it themselves.

    Attributes:
        built_as: name and options with which the registry makes the same network.
        timm_call: the name and the arguments with which `timm.create_model` makes the same network;
            None with a small stem, which timm does not have.
        idle: tensors of timm's network that no map comes from; in this one with `idle_layers` alone.
        whole: whether the deepest map is that of timm's `forward_features`, behind the last stage.

    Raises:
        UsageError: the network gives no maps, or has no such stem or stride.
    """

    built_as: tuple[str, dict[str, str]]
    timm_call: tuple[str, dict[str, Any]] | None
    idle: list[str]
    whole: bool

    def __init__(
        self,
        name: str,
        *,
        stem: Literal["standard", "small"] = "standard",
        output_stride: int | None = None,
        idle_layers: bool = False,
    ) -> None:
        super().__init__()
        self._name = name
        chosen = {"stem": stem, "output_stride": output_stride, "idle_layers": idle_layers or None}
        self.built_as = (
            name,
            {key: str(value).lower() for key, value in chosen.items() if value not in (None, "standard")},
        )
        if stem == "small" and output_stride:
            raise UsageError(
                f"stem=small divides all strides by 4 and cannot be combined with output_stride={output_stride}"
            )
        self.net: Any
        if output_stride is None:
            self.net, arguments = _create(name)
        else:
            self.net, arguments = _create_dilated(name, output_stride), {"output_stride": output_stride}
        names = list(self.net.state_dict())
        self.timm_call = (name, arguments) if stem == "standard" else None
        if hasattr(self.net, "pre_logits"):
            self.net.pre_logits = nn.Identity()
        if not hasattr(self.net, "forward_intermediates"):
            raise UsageError(
                f"backbone {name!r} does not provide feature maps",
                next="ssl-seg list backbones",
            )
        levels = [(info["num_chs"], info["reduction"]) for info in _levels(self.net)]
        if stem == "small":
            _use_small_stem(self.net, name)
            levels = [(channels, max(1, stride // 4)) for channels, stride in levels]
        self._indices = _chosen(levels)
        self._end(ending(name, arguments, self._indices), names, keep=idle_layers)
        self.channels = [levels[index][0] for index in self._indices]
        if self.whole:
            self.channels[-1] = self._final
        self.strides = [levels[index][1] for index in self._indices]
        self._register_state_dict_hook(_without_net)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_net)  # type: ignore[no-untyped-call]

    def _end(self, found: Ending, names: list[str], *, keep: bool) -> None:
        """Leave out what no map comes from, or keep it; `names` are those of timm's tensors."""
        self._final = 0 if keep else found.final
        self.whole = self._final > 0
        if not keep:
            leave_out(self.net, found.idle)
        own = self.net.state_dict()
        still = found.behind if keep else frozenset()
        layers = {name.rpartition(".")[0] for name in still} - {""}  # with their running statistics

        def is_idle(name: str) -> bool:
            return name not in own or name in still or name.rpartition(".")[0] in layers

        self.idle = list(filter(is_idle, names))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps; see `Backbone`.

        Raises:
            UsageError: the network takes no images of this size.
        """
        try:
            found = self.net.forward_intermediates(
                images,
                indices=self._indices,
                norm=True,
                output_fmt="NCHW",
                intermediates_only=not self.whole,
            )
        except AssertionError as error:  # how timm refuses a size
            height, width = images.shape[-2:]
            raise UsageError(
                f"backbone {self._name!r} does not support {height} x {width} images: {error}",
                next="another --image-size: often 224, or a multiple of 32",
            ) from error
        if not self.whole:
            return list(found)
        final, maps = found
        return [*maps[:-1], final]


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
        f"backbone {name!r} does not support output stride {output_stride}",
        next="omit output_stride, or use a ResNet: --backbone resnet50 -o backbone.output_stride=8",
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
            f"stem=small requires a ResNet with a standard stem convolution; {name!r} has none",
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


def changed(name: str, options: Mapping[str, Any]) -> bool:
    """Whether version 0.1.0 made another network of these options: one with layers that never learn.

    Args:
        name: of a backbone; False of one that is not timm's.
        options: of `TimmBackbone`, as texts or values.
    """
    if name not in _names() or "idle_layers" in options:
        return False
    stride = int(options.get("output_stride") or 0)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # it is not needed, only looked at
            made = TimmBackbone(name, output_stride=stride or None)
    except Exception:  # each family of networks fails in its own way where there are no numbers
        return False
    return made.whole or any(not key.startswith("pre_logits.") for key in made.idle)


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
