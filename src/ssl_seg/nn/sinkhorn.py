"""Assigning images to prototypes so that all prototypes are used alike (Sinkhorn and Knopp)."""

import torch
from torch import Tensor

from ssl_seg.distributed.collectives import all_gather, all_reduce_sum
from ssl_seg.utils.autocast import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(
    scores: Tensor, *, epsilon: float = 0.05, rounds: int = 3, counts: Tensor | None = None
) -> Tensor:
    """Soft assignments whose rows sum to 1 and whose columns, over all processes, have nearly equal sums.

    Args:
        scores: (B, K) similarity of each image with each prototype; of this process's images.
        epsilon: the smaller, the harder the assignments.
        rounds: of normalising columns, then rows.
        counts: (B,) weight of each row in the columns' sums; without it all have 1.

    Returns:
        (B, K) float32 or float64.
    """
    largest = all_gather(scores.amax()[None]).amax()  # exp must not overflow
    assigned = ((scores - largest) / epsilon).exp()
    weights = torch.ones_like(assigned[:, 0]) if counts is None else counts.to(assigned)
    for _ in range(rounds):
        columns = all_reduce_sum((assigned * weights[:, None]).sum(dim=0))
        assigned = assigned / columns.clamp(min=1e-30)
        assigned = assigned / assigned.sum(dim=1, keepdim=True).clamp(min=1e-30)
    return assigned
