"""The conformance kit: what every component must keep, as functions that a plugin's tests call.

    from ssl_seg.testing import check_method
    def test_my_method(): check_method(MyMethod)

Each raises `AssertionError` with the broken rule in words. The library's own components keep them too.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import augment
from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.engine.optim import build_param_groups
from ssl_seg.engine.recipe import trouble_in
from ssl_seg.nn.tensor_walk import iter_tensors
from ssl_seg.nn.tiny_backbone import TinyBackbone
from ssl_seg.weights.checkpoint import load_checkpoint, save_checkpoint

BATCH, SIZE = 8, 32
__all__ = ["TinyBackbone", "check_backbone", "check_dataset", "check_head", "check_method", "check_metric"]


def check_method(factory: Callable[..., SSLMethod]) -> None:
    """Hold a method to its contract, on a tiny backbone and a few steps.

    - `training_step` gives a finite scalar `loss`, and a finite gradient to every trainable
      parameter of the backbone. It moves no parameter.
    - What `after_step` moves (a target network) requires no gradient, gets none, and is not moved
      by the optimizer.
    - No tensor hangs on two attributes of the method, be it in a list or as a view of the same
      storage: a target is a copy, never the online network under a second name.
    - Every tensor that changes in training is in `state_dict()`.
    - Saved and loaded into a fresh instance, training goes on bit for bit. `recipe` is one that a run reads.
    """
    method = _build(factory, seed=0)
    _check_sharing(method)
    optimizer = _optimizer(method)
    before = [(path, tensor, tensor.detach().clone()) for _, path, tensor in iter_tensors(method)]
    for step in range(3):
        _check_step(method, optimizer, step)
    _check_sharing(method)  # a step may have made a tensor a view of another
    _check_saved(method, before)
    _check_resume(factory, method, optimizer)


def check_backbone(factory: Callable[[], Backbone], size: int = 64) -> None:
    """Hold a backbone to its contract.

    One map per entry of `channels` and `strides`, of that width and size; finite; from the maps a finite
    gradient to every trainable parameter, or it would be handed over as random as it began; in evaluation
    mode an image's features do not depend on its neighbours; the weights survive saving.
    """
    torch.manual_seed(0)
    backbone, images = factory(), _images(4, size, seed=1)
    assert len(backbone.channels) == len(backbone.strides) > 0, "channels and strides differ in length"
    levels = list(zip(backbone.channels, backbone.strides, strict=True))
    maps = backbone(images)
    assert isinstance(maps, list), f"forward must return a list, not {type(maps).__name__}"
    expected = [(4, c, -(-size // s), -(-size // s)) for c, s in levels]
    assert [tuple(m.shape) for m in maps] == expected, f"shapes {[tuple(m.shape) for m in maps]}"
    torch.stack([one.float().pow(2).mean() for one in maps]).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters()), "no gradient"
    _check_gradients(backbone, "")
    backbone.eval()
    with torch.no_grad():
        whole, alone = backbone(images)[-1], backbone(images[:1])[-1]
        assert bool(torch.isfinite(whole).all()), "features are not finite"
        assert torch.allclose(whole[:1], alone, atol=1e-4), "features depend on the other images"
        fresh = factory().eval()
        fresh.load_state_dict(backbone.state_dict())
        assert torch.equal(fresh(images)[-1], whole), "features differ after save and load"


def check_head(factory: Callable[..., Head], sizes: Sequence[int] = (64, 97)) -> None:
    """Hold a head to its contract: finite logits of the stated shape, and a gradient, for odd sizes."""
    levels, classes = ((8, 4), (16, 8), (32, 16)), 5
    head = factory([c for c, _ in levels], [s for _, s in levels], classes)
    for size in sizes:
        features = [torch.randn(2, c, -(-size // s), -(-size // s)) for c, s in levels]
        logits = head(features, (size, size))
        allowed = [(2, classes), (2, classes, size, size)]
        assert tuple(logits.shape) in allowed, f"logits have shape {tuple(logits.shape)}"
        assert bool(torch.isfinite(logits).all()), "logits are not finite"
        logits.sum().backward()
    idle = [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"{idle[0]} gets no gradient"


def check_dataset(dataset: Dataset, canvas: int = 64) -> None:
    """Hold a dataset to its contract: readable images, labels in range, identities that tell apart."""
    assert len(dataset) == len(dataset.samples) > 0, "the dataset is empty, or len() and samples differ"
    for path, target in dataset.samples:
        assert isinstance(path, str), "a sample's path must be a str"
        assert -1 <= target < len(dataset.classes), f"target {target} of {path} is out of range"
    picked = range(0, len(dataset), max(1, len(dataset) // 8))
    for index in picked:
        path = dataset.samples[index][0]
        image, (height, width) = dataset.image(index, canvas)
        assert image.dtype == np.uint8, f"{path}: pixels are {image.dtype}, not uint8"
        assert image.ndim == 3 and image.shape[2] == 3, f"{path}: shape {image.shape}, not (h, w, 3)"
        assert max(image.shape[:2]) <= canvas, f"{path}: larger than the canvas"
        assert height > 0 and width > 0, f"{path}: no size"
        assert np.array_equal(image, dataset.image(index, canvas)[0]), f"{path}: differs when read again"
    identities = {dataset.identity(index) for index in picked}
    assert len(identities) == len(picked), "different images have the same identity"


def check_metric(factory: Callable[..., Metric], prepare: Callable[[Metric], None] = lambda m: None) -> None:
    """Hold a metric to its contract: numbers by name, the same however batches are cut; a true `reset`."""
    torch.manual_seed(0)
    metric = factory(["a", "b", "c"])
    prepare(metric)
    logits, target = torch.randn(24, 3), torch.randint(0, 3, (24,))
    results = []
    for size in (24, 7):
        metric.reset()
        for chunk, labels in zip(logits.split(size), target.split(size), strict=True):
            metric.update(chunk, labels)
        results.append(metric.compute())
        assert results[0], "compute() gives no number"
        assert all(isinstance(value, float) for value in results[0].values()), "compute() must give floats"
    assert _same(*results), f"the numbers depend on the batch size: {results[0]} and {results[1]}"
    metric.update(-logits[:5], target[:5])
    metric.reset()
    metric.update(logits, target)
    assert _same(results[0], metric.compute()), "reset() does not forget everything"


def _same(one: dict[str, float], two: dict[str, float]) -> bool:
    """Equal names, and numbers equal to 1e-6: sums of floats round. NaN, for an absent class, equals NaN."""
    return one.keys() == two.keys() and np.allclose(
        list(one.values()), list(two.values()), rtol=1e-6, atol=1e-6, equal_nan=True
    )


def _images(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _build(factory: Callable[..., SSLMethod], seed: int) -> SSLMethod:
    torch.manual_seed(seed)
    method = factory(TinyBackbone())
    assert isinstance(method, nn.Module), "a method must be an nn.Module"
    assert len(method.views) > 0, "a method must say which views it wants"
    for name, recipe in (("recipe", method), ("recipe of the paper", getattr(method, "paper", None))):
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
    loss: Tensor = method(_views(method, step))["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    return loss.detach()


def _views(method: SSLMethod, step: int) -> Views:
    """Noise in the place of views, with boxes and flips as if it had been cut out."""
    noise = [_images(BATCH, SIZE, seed=100 * step + index) for index in range(len(method.views))]
    cut = augment(torch.zeros(BATCH, 3, SIZE, SIZE, dtype=torch.uint8), method.views, seed=step, size=SIZE)
    facts = {"targets": torch.arange(BATCH) % 3, "progress": torch.tensor(step / 10)}
    return cut.replaced(noise).with_facts(**facts)


def _check_step(method: SSLMethod, optimizer: Optimizer, step: int) -> None:
    start, out = _parameters(method), method(_views(method, step))
    assert isinstance(out, dict) and "loss" in out, "training_step must return a dict with 'loss'"
    loss = out["loss"]
    assert isinstance(loss, Tensor), f"the loss must be a tensor, not {type(loss).__name__}"
    assert loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss must be a finite scalar, is {loss}"
    assert loss.requires_grad, "the loss is cut off from the parameters"
    loss.backward()
    moved = _changed(start, _parameters(method))
    assert not moved, f"training_step moved {moved[0]}: a target moves in after_step, after the optimizer"
    _check_gradients(method, "backbone.")
    optimizer.step()
    stepped, frozen = _parameters(method), {n for n, p in method.named_parameters() if not p.requires_grad}
    pulled = frozen.intersection(_changed(start, stepped))
    assert not pulled, f"the optimizer moved {min(pulled, default='')}, which requires no gradient"
    grads = {name for name, p in method.named_parameters() if p.grad is not None}
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    for name in _changed(stepped, _parameters(method)):
        assert name not in grads, f"{name} is moved by after_step and receives gradients"
        assert name in frozen, f"{name} is moved by after_step and still requires a gradient"


def _check_gradients(module: nn.Module, prefix: str) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, f"{name} requires no gradient and has one"
        elif name.startswith(prefix):
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"


def _check_saved(method: SSLMethod, before: list[tuple[str, Tensor, Tensor]]) -> None:
    saved = {tensor.untyped_storage().data_ptr() for tensor in method.state_dict().values()}
    for path, tensor, old in before:
        if not torch.equal(tensor, old):
            kept = tensor.untyped_storage().data_ptr() in saved
            assert kept, f"{path} changes in training and is not in state_dict()"


def _check_resume(factory: Callable[..., SSLMethod], method: SSLMethod, optimizer: Optimizer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(Path(folder), 3, method, optimizer, {})
        twin_optimizer = _optimizer(twin := _build(factory, seed=1))
        load_checkpoint(path, twin, twin_optimizer)
    for step in (3, 4, 5):
        one, two = _step(method, optimizer, step), _step(twin, twin_optimizer, step)
        assert torch.equal(one, two), f"a resumed run differs: loss {one} against {two} in step {step}"
    changed = _changed(_parameters(method), _parameters(twin))
    assert not changed, f"a resumed run differs in {changed[0]}"


def _parameters(method: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in method.named_parameters()}


def _changed(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in one.items() if not torch.equal(tensor, two[name])]
