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
from ssl_seg.nn.timm_network import (
    checkpoint_activations,
    create,
    create_dilated,
    evenly_spaced,
    has_tokens,
    levels_of,
    needed_multiple,
    size_errors,
    use_small_stem,
)
from ssl_seg.nn.timm_tokens import tokens_of


class TimmBackbone(Backbone):
    """A timm network without its classifier; plain transformers (`VisionTransformer`, `Eva`) provide tokens.

    `state_dict()` has the names of the timm model (for ResNets also torchvision's), so a saved
    backbone loads into either library. The deepest map is that of timm's `forward_features`. Layers
    after it get no gradient and are omitted: the fully connected layers of VGG, `conv_head` of
    MobileNetV3, `head.norm` of ConvNeXt, the class token of XCiT.

    Args:
        name: of the timm model.
        stem: `small` replaces a ResNet's 7x7 stride-2 convolution by a 3x3 of stride 1 and drops
            the max pooling, for images of 32 to 64 px; sixteen times the compute.
        output_stride: stride of the deepest map: 8, 16 or 32. Smaller strides use atrous convolutions
            (Chen et al. 2017, arXiv:1706.05587) with the same weights. A ResNet-50 needs 1.5 times the
            operations at 16, 4.7 times at 8.
        img_size: image size of a transformer's position embeddings; other sizes are interpolated. Default:
            the size in its name.
        patch_size: patch size of a transformer, in pixels.
        in_chans: channels of the images; set from the data where they have others than three.
        drop_path: stochastic depth rate of the last block, lower for earlier ones (Huang et al. 2016,
            arXiv:1603.09382); off in target networks.
        checkpointing: recompute activations in the backward pass: less memory, one third more time. BatchNorm
            updates its running statistics twice per step.
        pool: result of `summary`: the class token if there is one (`token`), or the mean of the deepest map.
        idle_layers: architecture of version 0.1.0: the deepest map is that of the last stage, and later layers
            remain untrained. Set automatically for files of that version.

    Attributes:
        built_as: name and options with which the registry makes the same network.
        timm_call: the name and the arguments with which `timm.create_model` makes the same network;
            None with a small stem, which timm does not have.
        idle: tensors of timm's network that no map comes from; in this one with `idle_layers` alone.
        whole: whether the deepest map is that of timm's `forward_features`, behind the last stage.

    Raises:
        UsageError: the network gives no maps, or has no such option.
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
        img_size: int | None = None,
        patch_size: int | None = None,
        in_chans: int = 3,
        drop_path: float = 0.0,
        checkpointing: bool = False,
        pool: Literal["token", "mean"] = "token",
        idle_layers: bool = False,
    ) -> None:
        super().__init__()
        self.pool, self.in_chans = pool, in_chans
        others = None if in_chans == 3 else in_chans
        sizes = {"img_size": img_size, "patch_size": patch_size, "in_chans": others}
        training = {"drop_path": drop_path, "checkpointing": checkpointing}
        chosen = {"stem": stem, "output_stride": output_stride, "pool": pool, "idle_layers": idle_layers}
        usual = ("standard", None, "token", False, 0.0)
        stated = {**chosen, **sizes, **training}
        self.built_as = (name, {key: str(v).lower() for key, v in stated.items() if v not in usual})
        if stem == "small" and output_stride:
            raise UsageError(
                f"stem=small divides all strides by 4 and cannot be combined with output_stride={output_stride}"
            )
        self.net: Any
        options = {"drop_path_rate": drop_path or None, **sizes}
        options = {key: value for key, value in options.items() if value is not None}
        if output_stride is None:
            self.net, arguments = create(name, **options)
        else:
            self.net, arguments = create_dilated(name, output_stride, **options)
        arguments.pop("drop_path_rate", None)  # of training alone
        if checkpointing:
            checkpoint_activations(self.net, name)
        names = list(self.net.state_dict())
        self.timm_call = (name, arguments) if stem == "standard" else None
        if hasattr(self.net, "pre_logits"):
            self.net.pre_logits = nn.Identity()
        if not hasattr(self.net, "forward_intermediates"):
            what = f"backbone {name!r} does not provide feature maps"
            raise UsageError(what, next="ssl-seg list backbones")
        levels = [(info["num_chs"], info["reduction"]) for info in levels_of(self.net)]
        if stem == "small":
            use_small_stem(self.net, name)
            levels = [(channels, max(1, stride // 4)) for channels, stride in levels]
        self._indices = evenly_spaced(levels)
        self._end(ending(name, arguments, self._indices), names, keep=idle_layers)
        self.channels = [levels[index][0] for index in self._indices]
        if self.whole:
            self.channels[-1] = self._final
        self.strides = [levels[index][1] for index in self._indices]
        self._register_state_dict_hook(_without_net)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_net)  # type: ignore[no-untyped-call]
        if has_tokens(self.net):
            self.patch, _ = self.net.patch_embed.patch_size
            self.width, self.prefix = self.net.embed_dim, self.net.num_prefix_tokens

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

    @property
    def side_multiple(self) -> int:
        return self.patch or needed_multiple(self.net)

    @property
    def has_class_token(self) -> bool:
        """Whether the first of the `prefix` tokens is one."""
        return self.patch > 0 and self.net.cls_token is not None

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps; see `Backbone`.

        Raises:
            UsageError: the network takes no images of this size.
        """
        with size_errors(self.built_as[0], images):
            found = self.net.forward_intermediates(
                images,
                indices=self._indices,
                norm=True,
                output_fmt="NCHW",
                intermediates_only=not self.whole,
            )
        if not self.whole:
            return list(found)
        final, maps = found
        return [*maps[:-1], final]

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """See `Backbone`."""
        if not self.patch:
            return super().tokens(images)
        with size_errors(self.built_as[0], images):
            patches = self.net.patch_embed(images)
        return tokens_of(self.net, patches, keep=keep, hide=hide, mask_token=mask_token)

    def summary(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, channels[-1]): the class token where there is one and `pool` is not `mean`."""
        if self.pool == "token" and self.has_class_token:
            return self.tokens(images)[:, 0]
        return super().summary(images)


def _without_net(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    for key in [key for key in state if key.startswith(prefix + "net.")]:
        state[prefix + key[len(prefix) + 4 :]] = state.pop(key)


def _with_net(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + "net." + key[len(prefix) :]] = state.pop(key)


@cache
def _names() -> dict[str, None]:
    return dict.fromkeys(timm.list_models())


def early_options(name: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What to add to options of version 0.1.0 for the same network: it kept layers that never learn, and pooled maps.

    Args:
        name: of a backbone; nothing is added for one that is not timm's.
        options: of `TimmBackbone`, as texts or values.
    """
    if name not in _names():
        return {}
    stride = int(options.get("output_stride") or 0)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):  # it is not needed, only looked at
            made = TimmBackbone(name, output_stride=stride or None)
    except Exception:  # each family of networks fails in its own way where there are no numbers
        return {}
    idle = made.whole or any(not key.startswith("pre_logits.") for key in made.idle)
    early = ({"idle_layers": "true"} if idle else {}) | ({"pool": "mean"} if made.has_class_token else {})
    return {key: value for key, value in early.items() if key not in options}


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
