"""Checks of how the loss of a method depends on the batch: views, order, batch size and processes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_seg.augment.view_list import Views
from ssl_seg.base import SSLMethod
from ssl_seg.nn.sync_batch_norm import convert_sync_batchnorm
from ssl_seg.testing.ranks import SimulatedRanks, UnevenRanks

ODD = 7  # images: no square but 1 divides it, so `split_norm` splits no BatchNorm
MakeViews = Callable[[int, int], Views]  # of a step, for so many images


def check_batches(make: Callable[[], SSLMethod], make_views: MakeViews) -> None:
    """Check how the loss depends on the batch.

    The loss depends on every view and accepts an odd number of images. It does not depend on their order. If
    `loss_over` is `image`, duplicating all images does not change it. Two processes with half of the images
    each have the same loss and gradients as one process with all.

    For methods with random numbers in a step, only the first two are checked.

    Args:
        make: builds the method, always with the same tensors.
        make_views: creates the views of a step.
    """

    def loss_of(views: Views, seed: int = 0) -> Tensor:
        method = _without_dropout(make())
        torch.manual_seed(seed)
        loss: Tensor = method(views)["loss"]
        return loss.detach()

    _check_views(loss_of, make_views(3, 8))
    views = make_views(3, ODD)
    try:
        loss = loss_of(views)
    except Exception as error:
        raise AssertionError(f"a batch of {ODD} images fails: {type(error).__name__}: {error}") from error
    if not _close(loss, loss_of(views, seed=1)):
        return
    found = loss_of(views.part(torch.arange(ODD).roll(3).flip(0)))
    assert _close(loss, found), (
        f"the loss depends on the order of the images: {loss:.6g} and {found:.6g}; do not use batch "
        "positions as labels"
    )
    if getattr(make(), "loss_over", None) == "image":
        found = loss_of(views.part(torch.arange(ODD).repeat(2)))
        assert _close(loss, found), (
            f"loss_over is 'image', but the loss is not a mean over images: {loss:.6g}, with each image twice {found:.6g}"
        )
    _check_ranks(make, [make_views(step, 2 * ODD) for step in (3, 4)])


def _without_dropout(method: SSLMethod) -> SSLMethod:
    """Its numbers can be compared."""
    for part in method.train().modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
    return method


def _close(one: Tensor, two: Tensor, size: float = 0.01) -> bool:
    """Whether tensors are equal but for rounding, where numbers of some size are computed on the way."""
    return float((one - two).norm()) <= 1e-3 * (float(one.norm()) + size)


def _check_views(loss_of: Callable[[Views], Tensor], views: Views) -> None:
    loss = loss_of(views)
    for index, view in enumerate(views):
        others = list(views)
        others[index] = view.flip(0).roll(1, dims=2)  # other pixels of the same kind
        changed = loss_of(views.replaced(others))
        assert not torch.equal(loss, changed), f"the loss does not depend on view {index + 1} of {len(views)}"


def _check_ranks(make: Callable[[], SSLMethod], batches: list[Views]) -> None:
    """Compare one process with two; what differs in float32 alone, as a choice of neighbours does, is no difference."""
    try:
        _compare_ranks(make, batches)
    except AssertionError as error:
        double = [views.replaced([view.double() for view in views]) for views in batches]
        try:
            _compare_ranks(lambda: make().double(), double)
        except Exception:  # it may not compute in float64 at all
            raise error from None


def _compare_ranks(make: Callable[[], SSLMethod], batches: list[Views]) -> None:
    """Two steps, of which the second sees what the first has put into queues and centres."""
    alone = _steps(_without_dropout(make()), batches, slice(None))
    halves = [_without_dropout(make()) for _ in range(2)]
    for half in halves:
        convert_sync_batchnorm(half)
    try:
        parts = SimulatedRanks(2).run(lambda rank: _steps(halves[rank], batches, slice(rank, None, 2)))
    except ValueError as error:
        if "process group" in str(error):  # a collective that is not simulated
            return
        raise
    except UnevenRanks as error:
        raise AssertionError(f"in two processes: {error}") from error
    for (loss, gradients), *both in zip(alone, *parts, strict=True):
        found = torch.stack([other for other, _ in both]).mean()
        assert _close(loss, found), (
            f"the loss is {loss:.6g} in one process, {found:.6g} in two with half of the images each: "
            "gather values that are compared over the batch with ssl_seg.all_gather"
        )
        size = max(float(gradient.norm()) for gradient in gradients.values())
        for name, gradient in gradients.items():
            found = torch.stack([others[name] for _, others in both]).mean(dim=0)
            assert _close(gradient, found, size), (
                f"the gradient of {name} differs in two processes: use ssl_seg.all_gather, which propagates "
                "gradients to the process that has the images"
            )


def _steps(method: SSLMethod, batches: list[Views], rows: slice) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Loss and gradients of some steps without an optimizer."""
    found = []
    for step, views in enumerate(batches):
        loss: Tensor = method(views.part(rows))["loss"]
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
        found.append((loss.detach(), gradients))
        method.zero_grad()
        method.after_step((step + 1) / 10)
    return found
