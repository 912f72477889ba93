"""A frozen backbone's features once, or again in every epoch: the same accuracy, how much faster?

    python -m benchmarks.frozen TRAIN.csv --val VAL.csv [--model resnet18] [--size 64] [--epochs 50]

Both ways train the same linear head by the same loop on the same order of images, without random
views, and are timed whole: the one with the time its features take. The slow way is measured over
--measured epochs and its time per epoch multiplied, unless that is all of them.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from ssl_seg.augment.views import eval_view
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Model
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.label_alignment import align_labels
from ssl_seg.data.loader import Loader
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import eval_mode
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups, lr_at_step
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.heads.linear import Linear
from ssl_seg.tasks.classification import ClassificationTask, head_logits, pooled_features


def new_module(name: str, classes: int) -> ClassificationTask:
    torch.manual_seed(0)
    backbone = TimmBackbone(name)
    return ClassificationTask(
        Model(backbone, Linear(backbone.channels, backbone.strides, classes)), freeze_backbone=True
    )


def train(
    module: ClassificationTask, train: ImageCache, device: Device, given, epochs: int, *, cached: bool
) -> float:
    """Seconds of training `epochs` of the whole schedule."""
    device.prepare(module)
    batches = Loader(train, given.batch, 0, device.device)
    total = given.epochs * batches.steps_per_epoch
    optimizer = build_optimizer("adamw", build_param_groups(module, 0.05), 1e-3)
    started = perf_counter()
    if cached:
        (features,) = pooled_features(module.model.backbone, train, device, size=given.size)

    def feed(step: int):
        if cached:
            rows = batches.sampler.indices(step)
            return [[features[rows.to(features.device)], train.targets[rows].to(features.device)]]
        batch = batches.batch_at(step)
        return [[eval_view(batch.images, batch.sizes, size=given.size), batch.targets]]

    plan = Schedule(
        total_steps=epochs * batches.steps_per_epoch,
        steps_per_epoch=batches.steps_per_epoch,
        batch_size=given.batch,
        lr_at=lambda step: lr_at_step(step, total, 1e-3, total // 20),
        save_every_seconds=1e9,
    )
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as run:
        fit(module, feed, optimizer, plan, device=device, run=run, signals=SignalHandler())
    if device.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - started


def accuracy(module: ClassificationTask, val: ImageCache, device: Device, size: int) -> float:
    (features,) = pooled_features(module.model.backbone, val, device, size=size)
    with torch.no_grad(), eval_mode(module):
        said = head_logits(module.model, features).argmax(dim=1)
    return (said.cpu() == val.targets).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("--val", required=True)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--measured", type=int, default=3)
    given = parser.parse_args()
    device = Device()
    with tempfile.TemporaryDirectory() as cache:
        image_caches = [
            open_image_cache(csv_labels(p, ""), 2 * given.size, Path(cache)) for p in (given.train, given.val)
        ]
        align_labels(image_caches[1], csv_labels(given.val, ""), image_caches[0].classes, given.val)
        count = len(image_caches[0].classes)
        print(f"{given.model}, {given.size} px, {len(image_caches[0])} images, {device.describe()}")
        fast = new_module(given.model, count)
        once = train(fast, image_caches[0], device, given, given.epochs, cached=True)
        print(
            f"features once:        {once:8.1f} s   top-1 {accuracy(fast, image_caches[1], device, given.size):.3f}"
        )
        slow = new_module(given.model, count)
        part = train(slow, image_caches[0], device, given, given.measured, cached=False)
        whole = part * given.epochs / given.measured
        text = (
            f"top-1 {accuracy(slow, image_caches[1], device, given.size):.3f} after {given.measured} epochs"
        )
        print(f"again in every epoch: {whole:8.1f} s   {text}")
        print(f"{whole / once:.1f} times as long for {given.epochs} epochs")


if __name__ == "__main__":
    main()
