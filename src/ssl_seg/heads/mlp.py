"""A perceptron on pooled features."""

from collections.abc import Sequence

from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool, mlp


class MLP(Head):
    """Spatial mean of the deepest map, then linear layers with BatchNorm and ReLU in between.

    Args:
        channels, strides: of the pyramid.
        classes: how many there are.
        hidden: width of the hidden layers.
        layers: number of linear layers, >= 2.
        dropout: probability, before the first layer.
    """

    pools = True

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        *,
        hidden: int = 512,
        layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.net = mlp(channels[-1], hidden, classes, num_layers=layers)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.net(self.dropout(global_pool(features)))
        return logits


@hookimpl
def heads() -> dict[str, type[Head]]:
    return {"mlp": MLP}
