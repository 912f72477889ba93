"""Images as patches, and what masked modelling reconstructs of them."""

from torch import Tensor


def patchify(images: Tensor, side: int) -> Tensor:
    """Cut images into squares: (B, C, H, W) -> (B, N, side * side * C), row by row.

    Args:
        side: of a patch in pixels; divides H and W.
    """
    blocks: Tensor = images.unflatten(2, (-1, side)).unflatten(4, (-1, side))
    return blocks.permute(0, 2, 4, 3, 5, 1).flatten(1, 2).flatten(2)


def normalize_patches(patches: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Give each (B, N, D) patch mean 0 and standard deviation 1, as MAE's and SparK's targets have."""
    return (patches - patches.mean(dim=2, keepdim=True)) / (patches.var(dim=2, keepdim=True) + epsilon).sqrt()
