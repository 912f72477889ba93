"""A backbone for tests of methods and heads."""

from torch import Tensor, nn

from ssl_seg.base import Backbone


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
