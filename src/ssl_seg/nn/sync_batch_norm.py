"""BatchNorm over several processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

from ssl_seg.distributed.collectives import all_reduce_sum, rank_and_world_size
from ssl_seg.errors import PluginError


def convert_sync_batchnorm(module: nn.Module, group: Any = None) -> None:
    """Have every BatchNorm normalise by the batches of all processes, in place; its tensors stay.

    PyTorch's own conversion puts `nn.SyncBatchNorm` in the place of a norm: that does not run on a
    CPU, and what a subclass does beside normalising (timm's norms hold their activation) is lost.

    Args:
        group: of processes; None: all.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, _SyncBatchNormMixin):
            kind = type(part)
            part.__class__ = type(
                f"Synchronised{kind.__name__}", (_SyncBatchNormMixin, kind), {"group": group}
            )


@torch.no_grad()
def average_running_stats(module: nn.Module) -> None:
    """Give the BatchNorms of all processes the mean of their running statistics, in one exchange.

    Where each process normalises by its own images, or those of its machine, they would drift apart: which model is
    kept or evaluated would depend on the process, and a resumed run would have those of one of them.
    """
    norms = (part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))
    moving = [norm for norm in norms if norm.training and norm.momentum != 0.0]  # an EMA target's stay
    # `data`: the backward pass, which has kept them, does not read them in training
    stats = [
        each.data for norm in moving for each in (norm.running_mean, norm.running_var) if each is not None
    ]
    if stats:
        mean = all_reduce_sum(torch.cat(stats)) / rank_and_world_size()[1]
        torch._foreach_copy_(stats, list(mean.split([len(each) for each in stats])))


class _SyncBatchNormMixin(nn.Module):
    """Stands before a norm's own class: in training its `F.batch_norm` is that of all processes."""

    is_synchronized, is_checked = True, False
    group: Any = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)  # type: ignore[no-any-return]
        if not self.is_checked:
            self.is_checked = True
            _check_counts(input, self.group)
        with _SyncFunctionMode(self.group):
            return super().forward(input)  # type: ignore[no-any-return]


def _check_counts(input: Tensor, group: Any) -> None:
    """All processes must hold as many values: what they exchange is not weighted.

    Raises:
        PluginError: they do not.
    """
    if rank_and_world_size()[1] == 1:
        return
    count = input.numel() // input.shape[1]
    extremes = torch.tensor([count, -count], device=input.device)
    dist.all_reduce(extremes, dist.ReduceOp.MAX, group)
    most, least = extremes.tolist()
    if most != -least:
        what = (
            f"BatchNorm over processes is given {count} values per channel here, {-least} to {most} elsewhere"
        )
        raise PluginError(what, next="images of one size, or --sync-batchnorm off")


class _SyncFunctionMode(TorchFunctionMode):
    def __init__(self, group: Any) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return batch_norm(*args, **{**(kwargs or {}), "group": self.group})
        return func(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    group: Any = None,
) -> Tensor:
    """`torch.nn.functional.batch_norm` whose batch is that of all processes of a group together.

    Each of them must hold as many values.
    """
    if has_torch_function_unary(input):  # an outer mode has seen no call of this kind yet: see `VisibleCells`
        stats = (running_mean, running_var, weight, bias, training, momentum, eps)
        return handle_torch_function(batch_norm, (input,), input, *stats, group=group)
    if not training or rank_and_world_size()[1] == 1 or dist.get_world_size(group) == 1:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    function = _CudaBatchNorm if input.is_cuda else _AnyBatchNorm
    return function.apply(input, weight, bias, running_mean, running_var, eps, momentum, group)  # type: ignore


class _CudaBatchNorm(torch.autograd.Function):
    """With the kernels of `nn.SyncBatchNorm`, which looks in every layer and pass which processes have no images.

    It indexes three tensors by a mask for that, and the host waits each time to know how long they have become.
    """

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
        group: Any,
    ) -> Tensor:
        input = _dense(input)
        size, (mean, scale) = dist.get_world_size(group), torch.batch_norm_stats(input, eps)
        own = torch.cat([mean, scale])
        parts = own.new_empty(size * len(own))
        dist.all_gather_into_tensor(parts, own, group)
        means, scales = parts.view(size, 2, -1).unbind(dim=1)
        counts = mean.new_full((size,), input.numel() // input.shape[1])
        moving = running_mean, running_var, momentum, eps, counts
        mean, scale = torch.batch_norm_gather_stats_with_counts(input, means, scales, *moving)
        context.save_for_backward(input, weight, mean, scale, counts.int())
        context.group = group
        out: Tensor = torch.batch_norm_elemt(input, weight, bias, mean, scale, eps)
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        input, weight, mean, scale, counts = context.saved_tensors
        gradient, needs_grad = _dense(gradients[0]), context.needs_input_grad
        *sums, of_weight, of_bias = torch.batch_norm_backward_reduce(
            gradient, input, mean, scale, weight, *needs_grad[:3]
        )
        of_input = None
        if needs_grad[0]:
            whole = torch.cat(sums)
            dist.all_reduce(whole, group=context.group)
            factor = None if weight is None else weight.to(mean.dtype)
            known = mean, scale, factor, *whole.chunk(2), counts
            of_input = torch.batch_norm_backward_elemt(gradient, input, *known)
        return of_input, of_weight if needs_grad[1] else None, of_bias if needs_grad[2] else None, *[None] * 5


def _dense(x: Tensor) -> Tensor:
    """In a layout that torch's kernels know."""
    return x if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


class _AnyBatchNorm(torch.autograd.Function):
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
        group: Any,
    ) -> Tensor:
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count, mean, spread = _global_moments(x, group)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((spread / (count - 1)).to(running_var.dtype), momentum)
        scale = (spread / count + eps).rsqrt()
        context.save_for_backward(input, weight, mean, scale)
        context.count, context.group = count, group
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
        dist.all_reduce(sums, group=context.group)
        common, along = (_column(part / context.count, input) for part in sums)
        factor = _column(scale if weight is None else scale * weight, input)
        of_input = ((gradient - common - unit * along) * factor).to(input.dtype)
        needs_grad = context.needs_input_grad
        of_weight = of_weight.to(weight.dtype) if needs_grad[1] else None
        return (
            of_input,
            of_weight,
            of_bias.to(weight.dtype) if needs_grad[2] else None,
            *[None] * 5,
        )


def _global_moments(x: Tensor, group: Any) -> tuple[float, Tensor, Tensor]:
    """How many values a channel has in all processes, their means, and sums of squared distances to these.

    Means and spreads are exchanged, not sums of squares, which would cancel (Chan et al. 1979).
    """
    axes, count = _axes(x), x.numel() / x.shape[1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    own = torch.stack([mean, variance * count])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, own, group)
    means, spreads = torch.stack(parts, dim=1)  # all processes hold as many images
    whole = means.mean(dim=0)
    spread = spreads.sum(dim=0) + count * (means - whole).square().sum(dim=0)
    return count * len(parts), whole, spread


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _column(values: Tensor, x: Tensor) -> Tensor:
    """(C,) values, so that they stand for the channels of x."""
    return values.view(1, -1, *[1] * (x.ndim - 2))
