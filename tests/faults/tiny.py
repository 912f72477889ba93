"""A backbone so small that a whole run takes a fraction of a second; with BatchNorm and dropout."""

from torch import Tensor, nn

from ssl_seg.base import Backbone


class TinyBackbone(Backbone):
    channels, strides = (8, 16), (2, 4)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2))

    def forward(self, images: Tensor) -> list[Tensor]:
        one = self.one(images)
        return [one, self.two(one)]
