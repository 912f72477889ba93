"""Conformance checks of SSL methods."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import augment
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.engine.optim import build_param_groups
from ssl_seg.engine.recipe import trouble_in
from ssl_seg.nn.tensor_walk import iter_tensors
from ssl_seg.nn.tiny_backbone import tiny_backbone
from ssl_seg.testing.batches import check_batches
from ssl_seg.testing.parts import check_gradients, noise
from ssl_seg.testing.targets import check_direction, watch_norms
from ssl_seg.weights.checkpoint import load_checkpoint, save_checkpoint

BATCH, SIZE = 8, 32


def check_method(
    factory: Callable[..., SSLMethod], *, backbone: Callable[[], Backbone] | None = None
) -> None:
    """Check the contract of a method, on a tiny backbone in a few steps.

    - `training_step` returns a finite scalar `loss` with a finite gradient for every trainable
      parameter of the backbone. It changes no parameter.
    - Parameters that `after_step` updates (a target network) require no gradient, get none, and are not
      updated by the optimizer.
    - No two attributes of the method share a tensor or its storage: a target is a copy of the online
      network.
    - Every tensor that changes in training is in `state_dict()`.
    - Training is bit-exact after saving and loading into a new instance. `recipe` is valid.
    - Every trainable parameter of the backbone, or of the student that an exported teacher follows, gets a non-zero
      gradient, and the backbone changes within three steps.
    - A target uses batch statistics and does not update its running statistics; `after_step` moves it by a
      small fraction towards the online network.
    - All other returned values are scalars.
    - The loss depends on every view, accepts any number and order of images, and is the same in one process and in
      two: see `check_batches`.

    Args:
        factory: the method class, or a function that builds the method on a backbone.
        backbone: makes that backbone; by default a tiny one of the kind that the factory trains (`network`).
    """

    def build(seed: int) -> SSLMethod:
        torch.manual_seed(seed)
        return _checked(factory(backbone() if backbone else tiny_backbone(factory)))

    method = build(0)
    _check_sharing(method)
    optimizer = _optimizer(method)
    before = [(path, tensor, tensor.detach().clone()) for _, path, tensor in iter_tensors(method)]
    learning = {name for step in range(3) for name in _check_step(method, optimizer, step)}
    _check_sharing(method)  # a step may have made a tensor a view of another
    _check_saved(method, before)
    _check_learning(method, build(0), learning)
    twin = build(1)
    twin.load_state_dict(method.state_dict())
    _check_resume(build, method, optimizer)
    check_batches(lambda: copy.deepcopy(twin), lambda step, images: random_views(method, step, images))


def _checked(method: SSLMethod) -> SSLMethod:
    assert isinstance(method, nn.Module), "a method must be an nn.Module"
    assert len(method.views) > 0, "views must not be empty"
    for name, recipe in (("recipe", method), ("paper recipe", getattr(method, "paper", None))):
        trouble = trouble_in(recipe.recipe) if recipe is not None else ""
        assert not trouble, f"the {name}: {trouble}"
    return method.train()


def _optimizer(method: SSLMethod) -> Optimizer:
    return AdamW(build_param_groups(method, 1e-4, declared=method.param_groups), lr=1e-3)


def _check_sharing(method: SSLMethod) -> None:
    seen: dict[int, tuple[str, str]] = {}
    for attribute, path, tensor in iter_tensors(method):
        if tensor.numel():
            owner, other = seen.setdefault(tensor.untyped_storage().data_ptr(), (attribute, path))
            assert owner == attribute, f"{path} shares its storage with {other}: a target must be a copy"


def _step(method: SSLMethod, optimizer: Optimizer, step: int) -> Tensor:
    """One step as the engine does it; the loss."""
    torch.manual_seed(step)
    loss: Tensor = method(random_views(method, step))["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    return loss.detach()


def random_views(method: SSLMethod, step: int, images: int = BATCH) -> Views:
    """The views of a step: noise, with the boxes and flips of real crops."""
    size = 2 * SIZE if getattr(method.backbone, "patch", 0) else SIZE  # of a transformer, some patches
    views = [noise(images, size, seed=100 * step + index) for index in range(len(method.views))]
    cut = augment(torch.zeros(images, 3, size, size, dtype=torch.uint8), method.views, seed=step, size=size)
    facts = {"targets": torch.arange(images) % 3, "progress": torch.tensor(step / 10)}
    return cut.replaced(views).with_facts(**facts)


def _check_step(method: SSLMethod, optimizer: Optimizer, step: int) -> list[str]:
    """Run a step and check what it changes; the names of parameters with a non-zero gradient."""
    start = _parameters(method)
    with watch_norms(method) as check_norms:
        out = method(random_views(method, step))
    loss = _checked_loss(out)
    loss.backward()
    moved = _changed(start, _parameters(method))
    assert not moved, f"training_step changed {moved[0]}; update targets in after_step, after the optimizer"
    check_gradients(method, "backbone.")
    learning = [name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()]
    optimizer.step()
    stepped, frozen = _parameters(method), {n for n, p in method.named_parameters() if not p.requires_grad}
    pulled = frozen.intersection(_changed(start, stepped))
    assert not pulled, f"the optimizer updated {min(pulled, default='')}, which requires no gradient"
    grads = {name for name, p in method.named_parameters() if p.grad is not None}
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    followed = _parameters(method)
    for name in _changed(stepped, followed):
        assert name not in grads, f"after_step updates {name}, which receives gradients"
        assert name in frozen, f"after_step updates {name}, which still requires a gradient"
    check_norms(_changed(stepped, followed))
    check_direction(stepped, followed, set(stepped) - frozen)
    return learning


def _checked_loss(out: object) -> Tensor:
    assert isinstance(out, dict) and "loss" in out, "training_step must return a dict with 'loss'"
    loss = out["loss"]
    assert isinstance(loss, Tensor), f"the loss must be a tensor, not {type(loss).__name__}"
    assert loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss must be a finite scalar, got {loss}"
    assert loss.requires_grad, "the loss is detached from the parameters"
    for name, value in out.items():
        dimensions = 2 if name == "embedding" else 0
        assert isinstance(value, Tensor), f"{name!r} must be a tensor, not {type(value).__name__}"
        assert value.ndim == dimensions, (
            f"{name!r} must be {'(images, dimensions)' if dimensions else 'a scalar'}, got shape {tuple(value.shape)}"
        )
    return loss


def _check_learning(method: SSLMethod, fresh: SSLMethod, learning: set[str]) -> None:
    """Check that the backbone changes, by gradients, or as a target in `after_step` of one that gets gradients."""
    shapes = _shapes(method.backbone)
    networks = {name: module for name, module in method.named_modules() if _shapes(module) == shapes}
    for network, module in networks.items():
        for name, parameter in module.named_parameters(prefix=network):
            assert name in learning or not parameter.requires_grad, (
                f"the gradient of {name} is zero in every step"
            )
    assert _changed(_parameters(fresh.backbone), _parameters(method.backbone)), (
        "training does not change the backbone"
    )


def _check_saved(method: SSLMethod, before: list[tuple[str, Tensor, Tensor]]) -> None:
    saved = {tensor.untyped_storage().data_ptr() for tensor in method.state_dict().values()}
    for path, tensor, old in before:
        if not torch.equal(tensor, old):
            kept = tensor.untyped_storage().data_ptr() in saved
            assert kept, f"{path} changes in training and is not in state_dict()"


def _check_resume(build: Callable[[int], SSLMethod], method: SSLMethod, optimizer: Optimizer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(Path(folder), 3, method, optimizer, {})
        twin_optimizer = _optimizer(twin := build(1))
        load_checkpoint(path, twin, twin_optimizer)
    for step in (3, 4, 5):
        one, two = _step(method, optimizer, step), _step(twin, twin_optimizer, step)
        assert torch.equal(one, two), f"a resumed run differs: loss {two} instead of {one} at step {step}"
    changed = _changed(_parameters(method), _parameters(twin))
    assert not changed, f"a resumed run differs in {changed[0]}"


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in module.named_parameters()}


def _parameters(method: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in method.named_parameters()}


def _changed(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in one.items() if not torch.equal(tensor, two[name])]
