"""Backbones for tests of methods and heads."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone
from ssl_seg.nn.positions import sine_positions
from ssl_seg.nn.token_backbone import network_of


class TinyBackbone(Backbone):
    """Two convolutions with BatchNorm: a backbone small enough for every test."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [8, 16], [2, 4]
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, 8, H / 2, W / 2), (B, 16, H / 4, W / 4)."""
        first = self.one(images)
        return [first, self.two(first)]


class TinyTokens(Backbone):
    """A transformer of two blocks with a class token, for images whose sides are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.width, self.prefix = 4, 16, 1
        self.channels, self.strides = [16], [4]
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(16)

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """See `Backbone`."""
        x = self.embed(images).flatten(2).mT
        if hide is not None and mask_token is not None:
            x = torch.where(hide[..., None], mask_token.to(x.dtype), x)
        x = x + sine_positions(self.grid(*images.shape[-2:]), self.width, x)
        if keep is not None:
            x = x.gather(1, keep[..., None].expand(-1, -1, self.width))
        x = torch.cat([self.class_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, 16, H / 4, W / 4)."""
        patches = self.tokens(images)[:, self.prefix :]
        return [patches.mT.unflatten(2, self.grid(*images.shape[-2:]))]

    def summary(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 16), the class token."""
        return self.tokens(images)[:, 0]


def tiny_backbone(factory: Callable[..., Any]) -> Backbone:
    """A tiny backbone of the kind that a method's factory trains."""
    return TinyTokens() if network_of(factory) == "transformer" else TinyBackbone()
