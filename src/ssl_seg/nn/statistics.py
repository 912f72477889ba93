"""What batches of projections should be like: spread out, and no two dimensions alike."""

from torch import Tensor


def variance_term(points: Tensor, target: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """Mean over dimensions of how far the standard deviation falls short of the target (VICReg).

    Args:
        points: (B, ..., D), B >= 2.
        target: standard deviation that is wide enough.
        epsilon: added to the variance, so that the gradient at 0 is finite.
    """
    return (target - (points.var(dim=0) + epsilon).sqrt()).clamp(min=0.0).mean()


def covariance_term(points: Tensor) -> Tensor:
    """Sum of the squared covariances of different dimensions, divided by their number (VICReg).

    Args:
        points: (B, D), B >= 2, or (B, ..., D): then the mean over what lies between.
    """
    count, width = points.shape[0], points.shape[-1]
    centred = (points - points.mean(dim=0)).movedim(0, -2)
    covariance = centred.mT @ centred / (count - 1)
    off_diagonal = covariance.square().sum((-2, -1)) - covariance.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return off_diagonal.mean() / width
