"""What batches of projections should be like: spread out, and no two dimensions alike."""

from torch import Tensor


def variance_term(points: Tensor, target: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """Mean over dimensions of how far the standard deviation falls short of the target (VICReg).

    Args:
        points: (B, D), B >= 2.
        target: standard deviation that is wide enough.
        epsilon: added to the variance, so that the gradient at 0 is finite.
    """
    return (target - (points.var(dim=0) + epsilon).sqrt()).clamp(min=0.0).mean()


def covariance_term(points: Tensor) -> Tensor:
    """Sum of the squared covariances of different dimensions, divided by their number (VICReg).

    Args:
        points: (B, D), B >= 2.
    """
    count, width = points.shape
    centred = points - points.mean(dim=0)
    covariance = centred.T @ centred / (count - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / width
