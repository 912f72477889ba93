"""Conformance checks of backbones, heads, datasets and metrics."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ssl_seg.base import IGNORE_INDEX, Backbone, Dataset, Head, Metric


def check_backbone(factory: Callable[[], Backbone], size: int = 64) -> None:
    """Check the contract of a backbone.

    One finite map per entry of `channels` and `strides`, of that width and size, and a `summary` as wide as the
    deepest map; a finite gradient for every trainable parameter; in eval mode, features of an image do not
    depend on the other images; saving and loading preserve the weights.
    """
    torch.manual_seed(0)
    backbone, images = factory(), noise(4, size, seed=1)
    assert len(backbone.channels) == len(backbone.strides) > 0, "channels and strides differ in length"
    levels = list(zip(backbone.channels, backbone.strides, strict=True))
    maps = backbone(images)
    assert isinstance(maps, list), f"forward must return a list, not {type(maps).__name__}"
    expected = [(4, c, -(-size // s), -(-size // s)) for c, s in levels]
    assert [tuple(m.shape) for m in maps] == expected, (
        f"shapes {[tuple(m.shape) for m in maps]}, expected {expected}"
    )
    if hasattr(backbone, "summary"):  # any module with maps will do as a backbone
        summary = tuple(backbone.summary(images).shape)
        assert summary == (4, levels[-1][0]), f"summary has shape {summary}, not {(4, levels[-1][0])}"
    torch.stack([one.float().pow(2).mean() for one in maps]).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters()), (
        "no parameter gets a gradient"
    )
    check_gradients(backbone, "")
    backbone.eval()
    with torch.no_grad():
        whole, alone = backbone(images)[-1], backbone(images[:1])[-1]
        assert bool(torch.isfinite(whole).all()), "features are not finite"
        assert torch.allclose(whole[:1], alone, atol=1e-4), "features depend on the other images"
        fresh = factory().eval()
        fresh.load_state_dict(backbone.state_dict())
        assert torch.equal(fresh(images)[-1], whole), "features differ after save and load"


def check_head(factory: Callable[..., Head], sizes: Sequence[int] = (64, 97)) -> None:
    """Check the contract of a head: finite logits of the right shape, and gradients, for odd sizes too."""
    levels, classes = ((8, 4), (16, 8), (32, 16)), 5
    head = factory([c for c, _ in levels], [s for _, s in levels], classes)
    for size in sizes:
        features = [torch.randn(2, c, -(-size // s), -(-size // s)) for c, s in levels]
        logits = head(features, (size, size))
        allowed = [(2, classes), (2, classes, size, size)]
        assert tuple(logits.shape) in allowed, (
            f"logits have shape {tuple(logits.shape)}, expected one of {allowed}"
        )
        assert bool(torch.isfinite(logits).all()), "logits are not finite"
        logits.sum().backward()
    idle = [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"{idle[0]} gets no gradient"


def check_dataset(dataset: Dataset, canvas: int = 64) -> None:
    """Check the contract of a dataset: readable images, labels in range, unique identities.

    Masks have the size of their image, and only class indices and 255 as values.
    """
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
        assert height > 0 and width > 0, f"{path}: invalid size {height} x {width}"
        assert np.array_equal(image, dataset.image(index, canvas)[0]), f"{path}: differs when read again"
        if dataset.masks:
            _check_mask(dataset, index, canvas, image.shape[:2])
    identities = {dataset.identity(index) for index in picked}
    assert len(identities) == len(picked), "different images have the same identity"


def _check_mask(dataset: Dataset, index: int, canvas: int, size: tuple[int, ...]) -> None:
    path, mask = dataset.samples[index][0], dataset.mask(index, canvas)
    assert mask.dtype == np.uint8, f"the mask of {path}: values are {mask.dtype}, not uint8"
    assert mask.shape == size, f"the mask of {path}: shape {mask.shape}, but the image has {size}"
    values = np.setdiff1d(mask, [*range(len(dataset.classes)), IGNORE_INDEX])
    assert not len(values), (
        f"the mask of {path}: value {values[0]} with {len(dataset.classes)} classes; unlabeled pixels "
        f"must be {IGNORE_INDEX}"
    )
    assert np.array_equal(mask, dataset.mask(index, canvas)), f"the mask of {path}: differs when read again"


def check_metric(factory: Callable[..., Metric], prepare: Callable[[Metric], None] = lambda m: None) -> None:
    """Check the contract of a metric: values by name, independent of the batch size; a complete `reset`.

    It accepts logits of images, (B, C) with targets (B,), or of pixels, (B, C, H, W) with targets
    (B, H, W) where 255 is ignored, or both.
    """
    generator = torch.Generator().manual_seed(0)
    refusals = []
    for shape in ((), (5, 4)):  # of images, of pixels
        logits = torch.randn(24, 3, *shape, generator=generator)
        target = torch.randint(0, 3, (24, *shape), generator=generator)

        def made() -> Metric:
            metric = factory(["a", "b", "c"])
            prepare(metric)
            return metric

        try:
            made().update(logits, target)
        except Exception as error:
            refusals.append(f"{type(error).__name__}: {error}")
            continue
        _check_numbers(made(), logits, target)
        if shape:
            _check_ignored(made(), logits, target)
    assert len(refusals) < 2, (
        f"update() accepts logits neither of images nor of pixels: {'; '.join(refusals)}"
    )


def _check_numbers(metric: Metric, logits: Tensor, target: Tensor) -> None:
    results = []
    for size in (24, 7):
        metric.reset()
        for chunk, labels in zip(logits.split(size), target.split(size), strict=True):
            metric.update(chunk, labels)
        results.append(metric.compute())
        assert results[0], "compute() returns no value"
        assert all(isinstance(value, float) for value in results[0].values()), "compute() must return floats"
    assert _same(*results), f"the values depend on the batch size: {results[0]} and {results[1]}"
    metric.update(-logits[:5], target[:5])
    metric.reset()
    metric.update(logits, target)
    assert _same(results[0], metric.compute()), "reset() does not clear the state"


def _check_ignored(metric: Metric, logits: Tensor, target: Tensor) -> None:
    """Check that predictions of unlabeled pixels have no effect."""
    ignored = torch.arange(target.numel()).view_as(target) % 3 == 0
    target = target.masked_fill(ignored, IGNORE_INDEX)
    results = []
    for sign in (1.0, -1.0):
        metric.reset()
        metric.update(torch.where(ignored[:, None], sign * logits, logits), target)
        results.append(metric.compute())
    assert _same(*results), (
        f"pixels of target {IGNORE_INDEX} affect the value: ignore them, or raise an error for logits of pixels"
    )


def _same(one: dict[str, float], two: dict[str, float]) -> bool:
    """Equal names, and values equal to 1e-6 (rounding). NaN, for an absent class, equals NaN."""
    return one.keys() == two.keys() and np.allclose(
        list(one.values()), list(two.values()), rtol=1e-6, atol=1e-6, equal_nan=True
    )


def noise(count: int, size: int, seed: int) -> Tensor:
    """(count, 3, size, size) normal numbers."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def check_gradients(module: nn.Module, prefix: str) -> None:
    """Check that trainable parameters with the prefix have a finite gradient and frozen ones have none."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, f"{name} requires no gradient but has one"
        elif name.startswith(prefix):
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
