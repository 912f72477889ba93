"""BatchNorm for heads that pool an image to one number per channel, and over several processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules._functions import SyncBatchNorm as _TorchSync
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

from ssl_seg.distributed.collectives import rank_and_world_size


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


def convert_sync_batchnorm(module: nn.Module) -> None:
    """Have every BatchNorm normalise by the batches of all processes, in place; its tensors stay.

    PyTorch's own conversion puts `nn.SyncBatchNorm` in the place of a norm: that does not run on a
    CPU, and what a subclass does beside normalising (timm's norms hold their activation) is lost.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, _SyncBatchNormMixin):
            kind = type(part)
            part.__class__ = type(f"Synchronised{kind.__name__}", (_SyncBatchNormMixin, kind), {})


class _SyncBatchNormMixin(nn.Module):
    """Stands before a norm's own class: in training its `F.batch_norm` is that of all processes."""

    is_synchronized = True

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)  # type: ignore[no-any-return]
        with _SyncFunctionMode():
            return super().forward(input)  # type: ignore[no-any-return]


class _SyncFunctionMode(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return (batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` whose batch is that of all processes together."""
    if has_torch_function_unary(input):  # an outer mode has seen no call of this kind yet: see `VisibleCells`
        stats = (running_mean, running_var, weight, bias, training, momentum, eps)
        return handle_torch_function(batch_norm, (input,), input, *stats)
    if not training or rank_and_world_size()[1] == 1:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    moments = (running_mean, running_var, eps, momentum)
    if input.is_cuda:
        return _TorchSync.apply(input, weight, bias, *moments, dist.group.WORLD, rank_and_world_size()[1])  # type: ignore
    return _SyncBatchNormFunction.apply(input, weight, bias, *moments)  # type: ignore[no-any-return]


class _SyncBatchNormFunction(torch.autograd.Function):
    """The same on any device, with plain tensors; half precision is computed in float32."""

    @staticmethod
    def forward(
        context: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        momentum: float,
    ) -> Tensor:
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count, mean, spread = _global_moments(x)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((spread / (count - 1)).to(running_var.dtype), momentum)
        scale = (spread / count + eps).rsqrt()
        context.save_for_backward(input, weight, mean, scale)
        context.count = count
        out = (x - _column(mean, x)) * _column(scale if weight is None else scale * weight, x)
        return (out if bias is None else out + _column(bias, x)).to(input.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        input, weight, mean, scale = context.saved_tensors
        dtype = torch.promote_types(input.dtype, torch.float32)
        gradient = gradients[0].to(dtype)
        unit = (input.to(dtype) - _column(mean, input)) * _column(scale, input)
        axes = _axes(input)
        sums = torch.stack([gradient.sum(axes), (gradient * unit).sum(axes)])
        of_bias, of_weight = sums.clone()  # of this process: they are averaged with all other gradients
        dist.all_reduce(sums)
        common, along = (_column(part / context.count, input) for part in sums)
        factor = _column(scale if weight is None else scale * weight, input)
        of_input = ((gradient - common - unit * along) * factor).to(input.dtype)
        needs_grad = context.needs_input_grad
        of_weight = of_weight.to(weight.dtype) if needs_grad[1] else None
        return (
            of_input,
            of_weight,
            of_bias.to(weight.dtype) if needs_grad[2] else None,
            None,
            None,
            None,
            None,
        )


def _global_moments(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """How many values a channel has in all processes, their means, and sums of squared distances to these.

    Means and spreads are exchanged, not sums of squares, which would cancel (Chan et al. 1979).
    """
    axes, count = _axes(x), x.numel() / x.shape[1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    own = torch.stack([mean, variance * count])
    parts = [torch.empty_like(own) for _ in range(rank_and_world_size()[1])]
    dist.all_gather(parts, own)
    means, spreads = torch.stack(parts, dim=1)  # all processes hold as many images
    whole = means.mean(dim=0)
    spread = spreads.sum(dim=0) + count * (means - whole).square().sum(dim=0)
    return count * len(parts), whole, spread


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _column(values: Tensor, x: Tensor) -> Tensor:
    """(C,) values, so that they stand for the channels of x."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
