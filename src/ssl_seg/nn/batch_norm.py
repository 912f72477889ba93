"""BatchNorm for heads that pool an image to one number per channel."""

import torch.nn.functional as F
from torch import Tensor, nn


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a BatchNorm is among its parts."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


class PooledBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that also takes a single value per channel.

    A last batch of one image brings one to a norm that follows image pooling. Its variance is 0, so
    the batch says nothing of the scale, and PyTorch refuses. Here the running statistics normalise
    it, as they will in evaluation, and stay as they are: what follows sees the scale that it knows,
    and the gradient passes. To leave the norm out would change that scale for one step.
    """

    is_synchronized = False  # normalised with the batches of other processes, so never a single value

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.training and input.numel() == input.shape[1] and not self.is_synchronized:
            stats = (self.running_mean, self.running_var, self.weight, self.bias)
            return F.batch_norm(input, *stats, training=False, eps=self.eps)
        return super().forward(input)


def use_pooled_batch_norm(module: nn.Module) -> None:
    """Make every BatchNorm2d in a module a `PooledBatchNorm2d`, in place; its tensors stay."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = PooledBatchNorm2d
