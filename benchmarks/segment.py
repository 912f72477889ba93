"""Speed of DeepLabV3-ResNet50: a training step and whole-image evaluation, beside torchvision's way.

    python -m benchmarks.segment FOLDER [--size 512] [--batch 2] [--steps 2] [--repeats 3]

FOLDER holds images with masks (`NAME_sat.jpg`, `NAME_mask.png`). Training: the bound (the step on
fixed tensors), ssl-seg (`fit` on a store, with all its checks), and a loop as torchvision's reference
scripts have it: its own model of the same architecture, its transforms on images from files, a
DataLoader with workers, SGD with a schedule by the step, fp32. Evaluation: whole images and one
confusion matrix, from the store in batches and from files one by one. All in turns, medians count.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.io import decode_image, read_file
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.transforms import v2

from ssl_seg.augment.recipes import segmentation_view
from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD, augment_with_masks
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import IGNORE_INDEX, Model
from ssl_seg.data.canvases import WHOLE
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.data.mask_dataset import MaskDataset
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.metrics.mean_iou import MeanIoU
from ssl_seg.tasks.segmentation import SegmentationTask, full_image_logits


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class Ours:
    """ssl-seg, fp32 like its peer."""

    def __init__(self, dataset: MaskDataset, cache: Path, size: int, batch: int) -> None:
        torch.manual_seed(0)
        self.device = Device("fp32")
        self.classes, self.size, self.batch = list(dataset.classes), size, batch
        self.store = open_image_cache(dataset, WHOLE, cache)
        backbone = TimmBackbone("resnet50", output_stride=8)
        self.model = Model(backbone, DeepLabV3(backbone.channels, backbone.strides, len(self.classes)))
        self.module = SegmentationTask(self.model)
        self.device.prepare(self.module)
        self.optimizer = build_optimizer("sgd", build_param_groups(self.module, 1e-4), 0.02)
        self.batches = Loader(self.store, batch, 0, self.device.device)
        self.view = segmentation_view("light", size, self.store.sizes)
        self.fixed = self.pair(0)

    def pair(self, step: int) -> list[torch.Tensor]:
        b = self.batches.batch_at(step)
        fixed = {"seed": 0, "epoch": b.epoch, "size": self.size}
        return list(augment_with_masks(b.images, b.masks, b.sizes, b.samples, self.view, **fixed))

    def bound(self, steps: int) -> float:
        self.module.train()
        started = perf_counter()
        for _ in range(steps):
            self.module(self.fixed)["loss"].backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        wait(self.device.device)
        return perf_counter() - started

    def train(self, steps: int) -> float:
        """`fit`, timed from the end of its first step to the end of its last."""
        times: list[float] = []

        def feed(step: int) -> list[list[torch.Tensor]]:
            wait(self.device.device)
            times.append(perf_counter())
            return [self.pair(step)]

        plan = Schedule(
            total_steps=steps + 2,
            steps_per_epoch=10**6,
            batch_size=self.batch,
            lr_at=lambda _: 0.02,
            save_every_seconds=1e9,
        )
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as run:
            fit(self.module, feed, self.optimizer, plan, device=self.device, run=run, signals=SignalHandler())
        return times[1 + steps] - times[1]

    def evaluate(self, count: int) -> float:
        metric, seen = MeanIoU(self.classes), 0
        started = perf_counter()
        for logits, batch in full_image_logits(self.model, self.store, self.device, batch_size=4):
            metric.update(logits, batch.masks)
            seen += len(logits)
            if seen >= count:
                break
        metric.compute()
        return (perf_counter() - started) * count / seen


class Files(TorchDataset):
    """Images and masks from files through transforms, in workers."""

    def __init__(self, dataset: MaskDataset, transform: v2.Transform | None) -> None:
        self.dataset, self.transform = dataset, transform
        self.finish = v2.Compose(
            [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
             v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self.dataset.samples[index][0]
        image = tv_tensors.Image(decode_image(read_file(str(self.dataset.root / name))))
        mask, _ = self.dataset.reader.read(
            self.dataset.mask_files.root / self.dataset.mask_files.samples[index][0]
        )
        pair = image, tv_tensors.Mask(torch.from_numpy(mask))
        image, mask = self.finish(*(self.transform(*pair) if self.transform else pair))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor).long()


class Reference:
    """A loop as in torchvision's reference scripts for segmentation."""

    def __init__(self, dataset: MaskDataset, size: int, batch: int, workers: int) -> None:
        torch.manual_seed(0)
        self.device, self.classes = Device("fp32").device, len(dataset.classes)
        self.model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=self.classes)
        self.model.to(self.device)
        transform = v2.Compose(
            [
                v2.RandomResize(size // 2, size * 2, antialias=True),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Mask: IGNORE_INDEX, "others": 0}),
            ]
        )
        how = {"num_workers": workers, "pin_memory": self.device.type == "cuda"}
        self.train_data = DataLoader(
            Files(dataset, transform), batch, shuffle=True, drop_last=True, persistent_workers=True, **how
        )
        self.eval_data = DataLoader(Files(dataset, None), 1, **how)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.02, momentum=0.9, weight_decay=1e-4)
        total = 1000
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda i: (1 - i / total) ** 0.9)
        self._stream = None

    def train(self, steps: int) -> float:
        """Timed from the second batch on, when the workers have filled their queue."""
        self.model.train()
        if self._stream is None:
            self._stream = iter(self.train_data)
            next(self._stream)
        started = perf_counter()
        for _ in range(steps):
            image, target = next(self._stream)
            image, target = image.to(self.device), target.to(self.device)
            loss = F.cross_entropy(self.model(image)["out"], target, ignore_index=IGNORE_INDEX)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            loss.item()  # the reference's logger reads it
        wait(self.device)
        return perf_counter() - started

    @torch.inference_mode()
    def evaluate(self, count: int) -> float:
        self.model.eval()
        matrix = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=self.device)
        stream = iter(self.eval_data)
        started = perf_counter()
        for _ in range(count):
            image, target = (part.to(self.device) for part in next(stream))
            said, true = self.model(image)["out"].argmax(1).flatten(), target.flatten()
            known = (true >= 0) & (true < self.classes)
            pairs = self.classes * true[known] + said[known]
            matrix += torch.bincount(pairs, minlength=self.classes**2).view(self.classes, self.classes)
        wait(self.device)
        return perf_counter() - started


def in_turns(systems: dict[str, Callable[[int], float]], steps: int, images: int, repeats: int) -> None:
    """Time all in turns and print medians; the last line's system is what ssl-seg is compared with."""
    speeds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, run in systems.items():
            speeds[name].append(images / run(steps))
    print(f"{'':26}{'images/s':>10}{'least':>9}{'most':>9}{'ssl-seg is':>12}")
    for name, values in speeds.items():
        faster = statistics.median(a / b for a, b in zip(speeds["ssl-seg"], values, strict=True))
        print(
            f"{name:26}{statistics.median(values):10.3f}{min(values):9.3f}{max(values):9.3f}{faster:11.2f}x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=8, help="of an evaluation")
    given = parser.parse_args()
    dataset = mask_pairs(given.folder, "", stray="ignore")
    with tempfile.TemporaryDirectory() as cache:
        ours = Ours(dataset, Path(cache), given.size, given.batch)
        reference = Reference(dataset, given.size, given.batch, given.workers)
        title = f"DeepLabV3-ResNet50, {ours.device.describe()}, {given.repeats} turns"
        print(f"{title}\n\ntraining, {given.size} px, batch {given.batch}, {given.steps} steps a turn")
        systems = {"bound": ours.bound, "ssl-seg": ours.train, "torchvision's loop": reference.train}
        ours.bound(1)
        in_turns(systems, given.steps, given.steps * given.batch, given.repeats)
        print(f"\nevaluation of {given.images} whole images")
        in_turns(
            {"ssl-seg": ours.evaluate, "torchvision's loop": reference.evaluate},
            given.images, given.images, given.repeats,
        )  # fmt: skip


if __name__ == "__main__":
    main()
