"""Positions of patches as sines and cosines, for a grid of any size."""

import torch
from torch import Tensor


def sine_positions(grid: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Sines and cosines of row and column, at frequencies from 1 to 1/10000 (Vaswani et al. 2017).

    Args:
        grid: patches down and across.
        width: of a token, a multiple of 4: a quarter each for sine and cosine of row and column.
        like: whose type and device they have.

    Returns:
        (rows * columns, width), row by row.
    """
    steps = torch.arange(width // 4, device=like.device, dtype=torch.float64)
    frequencies = 10000.0 ** (-steps / (width // 4))
    rows, columns = (torch.arange(side, device=like.device, dtype=torch.float64) for side in grid)
    places = torch.cartesian_prod(rows, columns)
    angles = places[:, :, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1).to(like.dtype)
