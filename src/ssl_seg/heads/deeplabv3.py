"""DeepLabv3: atrous convolutions at several rates beside image pooling (Chen et al. 2017, arXiv:1706.05587)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.batch_norm import PooledBatchNorm2d

_REACH = 96  # pixels that the first rate spans: rate 12 at stride 8, 6 at stride 16
_MAP = (
    33  # cells along a side of the map for which the paper chose 6, 12, 18: crops of 513 pixels at stride 16
)


class DeepLabV3(Head):
    """Atrous spatial pyramid pooling on the deepest map, a convolution, a classifier, upsampling.

    The paper's output stride of 8 or 16 is the backbone's (`-o backbone.output_stride=16`). Weights
    have torchvision's names: `classifier.*` and `aux_classifier.*`.

    Args:
        channels, strides: of the pyramid.
        classes: how many there are.
        rates: atrous rates. By default they follow the stride of the deepest map: 12,
            24, 36 at 8; 6, 12, 18 at 16; 3, 6, 9 at 32. See `options_for` for small crops.
        width: channels of each branch.
        dropout: probability, after the branches are joined.
        aux: a small FCN head on the map before the deepest, for training only; see `auxiliary`.

    Attributes:
        output_stride: what `ssl-seg segment` gives the backbone where it can.

    Raises:
        UsageError: `aux` on a pyramid of one map.
    """

    output_stride = 8

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        *,
        rates: tuple[int, ...] | None = None,
        width: int = 256,
        dropout: float = 0.5,
        aux: bool = False,
    ) -> None:
        super().__init__()
        if rates is None:
            first = max(1, _REACH // strides[-1])
            rates = (first, 2 * first, 3 * first)
        self.classifier = nn.Sequential(
            _ASPP(channels[-1], width, rates, dropout),
            *_conv(width, width, 3, padding=1),
            nn.Conv2d(width, classes, 1),
        )
        self.aux_classifier: nn.Sequential | None = None
        if aux:
            if len(channels) < 2:
                raise UsageError("aux=true requires a second feature map; the backbone has one")
            self.aux_classifier = _fcn(channels[-2], classes)

    @staticmethod
    def options_for(strides: Sequence[int], size: int) -> dict[str, str]:
        """The options that suit training crops of `size` pixels: what `ssl-seg segment` uses for open ones.

        A tap of an atrous convolution that lies outside the map everywhere is never trained, and means something
        only in larger images. So the rates shrink with the map: to 6, 12, 18 for 32 cells a side, to 1, 2, 3 for 6.
        """
        full = max(1, _REACH // strides[-1])
        first = min(full, max(1, round(size / strides[-1] * 6 / _MAP)))
        return {} if first == full else {"rates": f"{first},{2 * first},{3 * first}"}

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes, *size) logits."""
        return _resize(self.classifier(features[-1]), size)

    def auxiliary(self, features: list[Tensor], size: tuple[int, int]) -> Tensor | None:
        """The auxiliary head's logits, (B, classes, *size), or None without one.

        `forward` gives logits and nothing else. Who trains calls this beside it, inside the same
        module, and adds the loss with a smaller weight (torchvision: 0.5).
        """
        if self.aux_classifier is None:
            return None
        return _resize(self.aux_classifier(features[-2]), size)


class _ASPP(nn.Module):
    """A 1x1 convolution, atrous 3x3 convolutions and image pooling, side by side, then joined."""

    def __init__(self, inputs: int, width: int, rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        branches: list[nn.Module] = [nn.Sequential(*_conv(inputs, width, 1))]
        for rate in rates:
            branches.append(nn.Sequential(*_conv(inputs, width, 3, padding=rate, dilation=rate)))
        pooled = [nn.Conv2d(inputs, width, 1, bias=False), PooledBatchNorm2d(width), nn.ReLU()]
        branches.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *pooled))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(*_conv(len(branches) * width, width, 1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        found = [branch(x) for branch in self.convs]
        found[-1] = found[-1].expand(-1, -1, *x.shape[2:])
        joined: Tensor = self.project(torch.cat(found, dim=1))
        return joined


def _conv(inputs: int, outputs: int, kernel: int, *, padding: int = 0, dilation: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def _fcn(inputs: int, classes: int) -> nn.Sequential:
    width = inputs // 4
    return nn.Sequential(*_conv(inputs, width, 3, padding=1), nn.Dropout(0.1), nn.Conv2d(width, classes, 1))


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@hookimpl
def heads() -> dict[str, type[Head]]:
    return {"deeplabv3": DeepLabV3}
