"""The decoders of segmentation-models-pytorch (smp) as heads: `smp:unet`, `smp:fpn`, ...

Their weights have smp's names: `decoder.*`, `segmentation_head.*`. smp is imported when one is built.
Positional arguments are the pyramid's `channels` and `strides` and the number of classes.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn

from ssl_seg.base import Head
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.pyramid_adapter import DecoderHead, PyramidLevel, power_of_two_levels, unsupported_strides

Ints = Sequence[int]


def unet(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    widths: tuple[int, ...] = (256, 128, 64, 32, 16),
    attention: Literal["scse"] | None = None,
) -> DecoderHead:
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597).

    `widths` are those of the blocks, deepest first; a pyramid of fewer maps uses the last ones.
    """
    levels = power_of_two_levels("smp:unet", channels, strides, dilated=True)
    return _blocks("unet.Unet", levels, widths, classes, attention_type=attention)


def unetplusplus(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    widths: tuple[int, ...] = (256, 128, 64, 32, 16),
    attention: Literal["scse"] | None = None,
) -> DecoderHead:
    """U-Net++ (Zhou et al. 2018, arXiv:1807.10165); `widths` as for smp:unet."""
    levels = power_of_two_levels("smp:unetplusplus", channels, strides)
    return _blocks("unetplusplus.UnetPlusPlus", levels, widths, classes, attention_type=attention)


def manet(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    widths: tuple[int, ...] = (256, 128, 64, 32, 16),
    attention_width: int = 64,
) -> DecoderHead:
    """MA-Net (Fan et al. 2020, IEEE Access 8); `widths` as for smp:unet."""
    levels = power_of_two_levels("smp:manet", channels, strides)
    return _blocks("manet.MAnet", levels, widths, classes, pab_channels=attention_width)


def linknet(channels: Ints, strides: Ints, classes: int, *, width: int = 32) -> DecoderHead:
    """LinkNet (Chaurasia and Culurciello 2017, arXiv:1707.03718); `width` is that of the last block."""
    levels = power_of_two_levels("smp:linknet", channels, strides)
    decoder = _decoder("linknet.Linknet", _channels(levels), width, n_blocks=len(levels) - 1)
    return _build_head(levels, decoder, width, classes)


def fpn(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    pyramid_width: int = 256,
    width: int = 128,
    dropout: float = 0.2,
) -> DecoderHead:
    """Feature pyramid network (Kirillov et al. 2019, arXiv:1901.02446), on the last four maps.

    A pyramid of three gets a fourth level, the last one pooled.
    """
    every = power_of_two_levels("smp:fpn", channels, strides)
    levels = [level for level in every if level.map_index is not None]
    if len(levels) == 3:
        levels.append(levels[-1]._replace(stride=2 * levels[-1].stride, downsampled=True))
    levels = levels[-4:]
    if len(levels) < 4:
        raise unsupported_strides("smp:fpn", strides, "at least three maps whose strides double, from 2 or 4")
    decoder = _decoder("fpn.FPN", _channels(levels), 5, pyramid_width, width, dropout)
    return _build_head(levels, decoder, width, classes, upsampling=levels[0].stride)


def pspnet(
    channels: Ints, strides: Ints, classes: int, *, width: int = 512, dropout: float = 0.2
) -> DecoderHead:
    """PSPNet (Zhao et al. 2017, arXiv:1612.01105), on the deepest map; the paper's has stride 8."""
    levels = _deepest(channels, strides)
    decoder = _decoder("pspnet.PSP", _channels(levels), out_channels=width, dropout=dropout)
    return _build_head(levels, decoder, width, classes, kernel=3, upsampling=strides[-1])


def upernet(channels: Ints, strides: Ints, classes: int, *, width: int = 256) -> DecoderHead:
    """UPerNet (Xiao et al. 2018, arXiv:1807.10221), on the maps from stride 4 on."""
    levels = power_of_two_levels("smp:upernet", channels, strides, dilated=True)
    decoder = _decoder("upernet.UPerNet", _channels(levels), len(levels) - 1, decoder_channels=width)
    return _build_head(levels, decoder, width, classes, upsampling=4)


def segformer(channels: Ints, strides: Ints, classes: int, *, width: int = 256) -> DecoderHead:
    """The head of SegFormer (Xie et al. 2021, arXiv:2105.15203)."""
    levels = power_of_two_levels("smp:segformer", channels, strides, dilated=True)
    decoder = _decoder("segformer.Segformer", _channels(levels), segmentation_channels=width)
    return _build_head(levels, decoder, width, classes, upsampling=4)


def pan(channels: Ints, strides: Ints, classes: int, *, width: int = 32) -> DecoderHead:
    """Pyramid attention network (Li et al. 2018, arXiv:1805.10180).

    It halves the deepest map three times: a smaller one than 8 x 8 is continued to that.
    """
    levels = power_of_two_levels("smp:pan", channels, strides, dilated=True)
    decoder = _decoder("pan.PAN", _channels(levels), len(levels) - 1, width)
    return _build_head(levels, decoder, width, classes, kernel=3, upsampling=4, min_size=8)


def deeplabv3(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    rates: tuple[int, int, int] = (12, 24, 36),
    width: int = 256,
    dropout: float = 0.5,
) -> DecoderHead:
    """DeepLabv3 as smp has it (Chen et al. 2017, arXiv:1706.05587); see also the head `deeplabv3`."""
    levels = _deepest(channels, strides)
    decoder = _decoder("deeplabv3.DeepLabV3", channels[-1], width, rates, False, dropout)
    return _build_head(levels, decoder, width, classes, upsampling=strides[-1], smp_init=False)


def deeplabv3plus(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    rates: tuple[int, int, int] = (12, 24, 36),
    width: int = 256,
    separable: bool = True,
    dropout: float = 0.5,
) -> DecoderHead:
    """DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611), for an output stride of 8 or 16."""
    if 4 not in strides or strides[-1] not in (8, 16):
        wanted = "a map at stride 4 and a last one at 8 or 16 (-o backbone.output_stride=16)"
        raise unsupported_strides("smp:deeplabv3plus", strides, wanted)
    first = list(strides).index(4)
    levels = [
        PyramidLevel(1),
        PyramidLevel(2),
        PyramidLevel(4, first, channels[first]),
        *_deepest(channels, strides),
    ]
    args = (width, rates, strides[-1], separable, dropout)
    decoder = _decoder("deeplabv3.DeepLabV3Plus", _channels(levels), 5, *args)
    return _build_head(levels, decoder, width, classes, upsampling=4, smp_init=False)


def dpt(
    channels: Ints,
    strides: Ints,
    classes: int,
    *,
    widths: tuple[int, ...] = (256, 512, 1024, 1024),
    width: int = 256,
) -> DecoderHead:
    """DPT (Ranftl et al. 2021, arXiv:2103.13413), on the last four maps, without class tokens.

    They may all have the same stride, as a transformer's have; it must be a power of two.
    """
    if any(stride & (stride - 1) for stride in strides):
        raise unsupported_strides("smp:dpt", strides, "strides that are powers of two")
    every = [PyramidLevel(s, i, c) for i, (s, c) in enumerate(zip(strides, channels, strict=True))]
    levels = every[-len(widths) :]
    own, depth = [level.stride for level in levels], len(levels)
    decoder = _decoder("dpt.DPT", _channels(levels), own, False, "ignore", widths[:depth], width)
    last = _smp("decoders.dpt.decoder").DPTSegmentationHead(width, classes)
    _init_weights(decoder, last)
    # the decoder brings its maps to strides 4, 8, 16, ...
    return DecoderHead(levels, decoder, last, size_divisor=2 ** (depth + 1), extra_inputs=([None] * depth,))


def _blocks(
    name: str, levels: list[PyramidLevel], widths: tuple[int, ...], classes: int, **options: Any
) -> DecoderHead:
    """A decoder of one block per map, which ends at full resolution."""
    depth = len(levels) - 1
    if len(widths) < depth:
        raise UsageError(f"smp:{name.partition('.')[0]} requires {depth} widths, got {widths}")
    decoder = _decoder(name, _channels(levels), widths[-depth:], n_blocks=depth, **options)
    return _build_head(levels, decoder, widths[-1], classes, kernel=3)


def _deepest(channels: Ints, strides: Ints) -> list[PyramidLevel]:
    return [PyramidLevel(strides[-1], len(strides) - 1, channels[-1])]


def _channels(levels: list[PyramidLevel]) -> list[int]:
    return [level.channels for level in levels]


def _smp(module: str) -> Any:
    return importlib.import_module(f"segmentation_models_pytorch.{module}")


def _decoder(name: str, *args: Any, **options: Any) -> Any:
    folder, _, brand = name.partition(".")
    return getattr(_smp(f"decoders.{folder}.decoder"), f"{brand}Decoder")(*args, **options)


def _build_head(
    levels: list[PyramidLevel],
    decoder: nn.Module,
    inputs: int,
    classes: int,
    *,
    kernel: int = 1,
    upsampling: int = 1,
    smp_init: bool = True,
    min_size: int = 1,
) -> DecoderHead:
    """Add smp's segmentation head; `smp_init` initializes weights as smp does, otherwise as torch does."""
    last = _smp("base.heads").SegmentationHead(inputs, classes, kernel_size=kernel, upsampling=upsampling)
    if smp_init:
        _init_weights(decoder, last)
    return DecoderHead(levels, decoder, last, min_size=min_size)


def _init_weights(decoder: nn.Module, last: nn.Module) -> None:
    start = _smp("base.initialization")
    start.initialize_decoder(decoder)
    start.initialize_head(last)


_WITH_SKIPS = (unet, unetplusplus, manet, linknet, fpn)
_WITH_CONTEXT = (pspnet, upernet, segformer, pan, deeplabv3, deeplabv3plus, dpt)


@hookimpl
def heads() -> dict[str, Callable[..., Head]]:
    return {f"smp:{factory.__name__}": factory for factory in (*_WITH_SKIPS, *_WITH_CONTEXT)}
