"""Images as patches, and what masked modelling reconstructs of them."""

from torch import Tensor

from ssl_seg.errors import UsageError


def check_mask(mask: float) -> float:
    """The share of patches that is hidden, itself.

    Raises:
        UsageError: it hides none or all.
    """
    if not 0.0 < mask < 1.0:
        raise UsageError(f"ssl.mask must be between 0 and 1, got {mask}")
    return mask


def visible_patches(chance: Tensor, mask: float) -> Tensor:
    """Numbers of the patches that stay visible in each image, at least one and not all: (B, K) int64.

    Args:
        chance: (N, B) uniform numbers, one for each patch: `Views.chance(N)`.
        mask: share of the patches that is hidden.
    """
    patches = len(chance)
    count = min(max(1, round(patches * (1.0 - mask))), patches - 1)
    return chance.T.argsort(dim=1, stable=True)[:, :count]


def hidden_patch_error(predictions: Tensor, targets: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error of hidden patches.

    Args:
        predictions, targets: (B, N, D).
        hidden: (B, N) bool.
    """
    errors = (predictions - targets).square().mean(dim=2)
    return (errors * hidden).sum() / hidden.sum()


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
