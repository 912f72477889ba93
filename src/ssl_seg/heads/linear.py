"""One linear layer on pooled features."""

from collections.abc import Sequence

from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool


class Linear(Head):
    """Spatial mean of the deepest map, normalized, then one linear layer.

    Args:
        channels, strides: of the pyramid.
        classes: how many there are.
        norm: a BatchNorm without parameters before the layer (He et al. 2022, arXiv:2111.06377,
            appendix A.1), so that one learning rate suits features of any scale.
        dropout: probability, before the layer.
    """

    pools = True

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        *,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels[-1], affine=False) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[-1], classes)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        logits: Tensor = self.linear(self.dropout(self.norm(global_pool(features))))
        return logits


@hookimpl
def heads() -> dict[str, type[Head]]:
    return {"linear": Linear}
