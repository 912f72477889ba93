"""The conformance kit: what every component must keep, as functions that a plugin's tests call.

    from ssl_seg.testing import check_method
    def test_my_method(): check_method(MyMethod)

Each raises `AssertionError` with the broken rule in words. The library's own components are held
to the same rules.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from ssl_seg.engine.optim import parameter_groups

BATCH, SIZE = 8, 32


class TinyBackbone(Backbone):
    """Two convolutions with BatchNorm: a backbone small enough for every test."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [8, 16], [2, 4]
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, 8, H / 2, W / 2), (B, 16, H / 4, W / 4)."""
        first = self.one(images)
        return [first, self.two(first)]


def check_method(factory: Callable[..., SSLMethod]) -> None:
    """Hold a method to its contract, on a tiny backbone and a few steps.

    - `training_step` gives a finite scalar `loss`, and a finite gradient to every trainable
      parameter of the backbone. It moves no parameter.
    - What `after_step` moves (a target network) requires no gradient, gets none, is not moved by
      the optimizer, and shares no storage with anything that is trained.
    - Every tensor that changes in training is in `state_dict()`.
    - Saved and loaded into a fresh instance, training goes on bit for bit.
    """
    method = _build(factory, seed=0)
    _check_sharing(method)
    optimizer = torch.optim.AdamW(parameter_groups(method, 1e-4), lr=1e-3)
    before = _tensors(method)
    for step in range(3):
        _check_step(method, optimizer, step)
    _check_saved(method, before)
    _check_resume(factory, method, optimizer)


def check_backbone(factory: Callable[[], Backbone], size: int = 64) -> None:
    """Hold a backbone to its contract.

    One map per entry of `channels` and `strides`, of that width and size; finite; a gradient from
    the deepest map; in evaluation mode an image's features do not depend on its neighbours; the
    weights survive saving.
    """
    torch.manual_seed(0)
    backbone, images = factory(), _images(4, size, seed=1)
    assert len(backbone.channels) == len(backbone.strides) > 0, "channels and strides differ in length"
    maps = backbone(images)
    assert isinstance(maps, list), f"forward must return a list, not {type(maps).__name__}"
    expected = [(4, c, -(-size // s), -(-size // s)) for c, s in _levels(backbone)]
    assert [tuple(m.shape) for m in maps] == expected, f"shapes {[tuple(m.shape) for m in maps]}"
    maps[-1].float().pow(2).mean().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters()), "no gradient"
    backbone.eval()
    with torch.no_grad():
        whole, alone = backbone(images)[-1], backbone(images[:1])[-1]
        assert bool(torch.isfinite(whole).all()), "features are not finite"
        assert torch.allclose(whole[:1], alone, atol=1e-4), "features depend on the other images"
        fresh = factory()
        fresh.load_state_dict(backbone.state_dict())
        fresh.eval()
        assert torch.equal(fresh(images)[-1], whole), "features differ after save and load"


def check_head(factory: Callable[..., Head], sizes: Sequence[int] = (64, 97)) -> None:
    """Hold a head to its contract: finite logits of the stated shape, and a gradient, for odd sizes."""
    channels, strides, classes = [8, 16, 32], [4, 8, 16], 5
    head = factory(channels, strides, classes)
    for size in sizes:
        features = [
            torch.randn(2, c, -(-size // s), -(-size // s)) for c, s in zip(channels, strides, strict=True)
        ]
        logits = head(features, (size, size))
        allowed = [(2, classes), (2, classes, size, size)]
        assert tuple(logits.shape) in allowed, f"logits have shape {tuple(logits.shape)}"
        assert bool(torch.isfinite(logits).all()), "logits are not finite"
        logits.sum().backward()
    assert all(p.grad is not None for p in head.parameters() if p.requires_grad), (
        "a parameter has no gradient"
    )


def check_dataset(dataset: Dataset, canvas: int = 64) -> None:
    """Hold a dataset to its contract: readable images, labels in range, identities that tell apart."""
    assert len(dataset) > 0, "the dataset is empty"
    assert len(dataset) == len(dataset.samples), "len() and samples differ"
    picked = range(0, len(dataset), max(1, len(dataset) // 8))
    for index in picked:
        path, target = dataset.samples[index]
        assert isinstance(path, str), "a sample's path must be a str"
        assert -1 <= target < max(1, len(dataset.classes)), f"target {target} of {path} is out of range"
        image, (height, width) = dataset.image(index, canvas)
        assert image.dtype == np.uint8, f"{path}: pixels are {image.dtype}, not uint8"
        assert image.ndim == 3 and image.shape[2] == 3, f"{path}: shape {image.shape}, not (h, w, 3)"
        assert max(image.shape[:2]) <= canvas, f"{path}: larger than the canvas"
        assert height > 0 and width > 0, f"{path}: no size"
        assert np.array_equal(image, dataset.image(index, canvas)[0]), f"{path}: differs when read again"
    identities = {dataset.identity(index) for index in picked}
    assert len(identities) == len(picked), "different images have the same identity"


def check_metric(factory: Callable[..., Metric], prepare: Callable[[Metric], None] = lambda m: None) -> None:
    """Hold a metric to its contract: numbers by name that do not depend on how batches are cut."""
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
    assert results[0] == results[1], "the numbers depend on the batch size"


def _levels(backbone: Backbone) -> Iterator[tuple[int, int]]:
    return zip(backbone.channels, backbone.strides, strict=True)


def _images(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _build(factory: Callable[..., SSLMethod], seed: int) -> SSLMethod:
    torch.manual_seed(seed)
    method = factory(TinyBackbone())
    assert isinstance(method, nn.Module), "a method must be an nn.Module"
    assert len(method.views) > 0, "a method must say which views it wants"
    return method.train()


def _check_sharing(method: SSLMethod) -> None:
    seen: dict[int, str] = {}
    for name, parameter in method.named_parameters(remove_duplicate=False):
        other = seen.setdefault(parameter.untyped_storage().data_ptr(), name)
        same_part = name.split(".")[0] == other.split(".")[0]
        assert same_part, f"{name} shares its storage with {other}: a target must be a copy"


def _step(method: SSLMethod, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
    """One step as the engine does it; the loss."""
    torch.manual_seed(step)
    loss: Tensor = method(_views(method, step))["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    return loss.detach()


def _views(method: SSLMethod, step: int) -> list[Tensor]:
    return [_images(BATCH, SIZE, seed=100 * step + index) for index in range(len(method.views))]


def _check_step(method: SSLMethod, optimizer: torch.optim.Optimizer, step: int) -> None:
    start = _parameters(method)
    out = method(_views(method, step))
    assert isinstance(out, dict) and "loss" in out, "training_step must return a dict with 'loss'"
    loss = out["loss"]
    assert loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss must be a finite scalar, is {loss}"
    assert loss.requires_grad, "the loss is cut off from the parameters"
    loss.backward()
    moved = _changed(start, _parameters(method))
    assert not moved, f"training_step moved {moved[0]}: a target moves in after_step, after the optimizer"
    _check_gradients(method)
    optimizer.step()
    stepped = _parameters(method)
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    pulled = frozen.intersection(_changed(start, stepped))
    assert not pulled, f"the optimizer moved {min(pulled, default='')}, which requires no gradient"
    grads = {name for name, p in method.named_parameters() if p.grad is not None}
    optimizer.zero_grad()
    method.after_step((step + 1) / 10)
    for name in _changed(stepped, _parameters(method)):
        assert name not in grads, f"{name} is moved by after_step and receives gradients"
        assert name in frozen, f"{name} is moved by after_step and still requires a gradient"


def _check_gradients(method: SSLMethod) -> None:
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, f"{name} requires no gradient and has one"
        elif name.startswith("backbone."):
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"


def _check_saved(method: SSLMethod, before: dict[int, tuple[str, Tensor, Tensor]]) -> None:
    saved = {tensor.untyped_storage().data_ptr() for tensor in method.state_dict().values()}
    for path, tensor, old in before.values():
        if not torch.equal(tensor, old):
            kept = tensor.untyped_storage().data_ptr() in saved
            assert kept, f"{path} changes in training and is not in state_dict()"


def _check_resume(
    factory: Callable[..., SSLMethod], method: SSLMethod, optimizer: torch.optim.Optimizer
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(Path(folder), 3, method, optimizer, {})
        twin = _build(factory, seed=1)
        twin_optimizer = torch.optim.AdamW(parameter_groups(twin, 1e-4), lr=1e-3)
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


def _tensors(method: nn.Module) -> dict[int, tuple[str, Tensor, Tensor]]:
    """Every tensor that hangs on the method, also in lists and plain attributes: path, it, a copy."""
    found: dict[int, tuple[str, Tensor, Tensor]] = {}
    _search(method, "method", found, set())
    return found


def _search(thing: Any, path: str, found: dict[int, tuple[str, Tensor, Tensor]], seen: set[int]) -> None:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        found[id(thing)] = (path, thing, thing.detach().clone())
    elif isinstance(thing, dict):
        for key, value in thing.items():
            _search(value, f"{path}.{key}", found, seen)
    elif isinstance(thing, list | tuple | set):
        for index, value in enumerate(thing):
            _search(value, f"{path}[{index}]", found, seen)
    elif isinstance(thing, nn.Module) or type(thing).__module__.split(".")[0] not in ("torch", "builtins"):
        _search(getattr(thing, "__dict__", {}), path, found, seen)
