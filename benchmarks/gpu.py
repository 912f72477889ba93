"""What a GPU does in a step of BYOL or DeepLabV3, and how much of it could be spared.

    python -m benchmarks.gpu [--case resnet50:128:64] [--variant eager] [--steps 20] [--minutes 8] [--cpu]

One JSON line for each case, variant (`eager`, `graph`, `compile`, `both`) and place of the images (`resident`, `streamed`):
images per second of `fit` from the cache, with all its checks and without waits inside; of the bound, the same step on fixed
tensors; and, on a GPU, kernels and busy share of a step by the profiler, and the calls that wait for the device. What is
not begun after so many minutes is named and left out. Needs torch, this repository, and what `scripts/wheels` lists.
The same step by lightly and byol-pytorch: `python -m benchmarks.byol`; by torchvision's loop: `benchmarks.segment`.
With --cpu, on small cases, it shows that it works; images are then neither resident nor streamed, but read.
"""

import argparse
import json
import statistics
import tempfile
import warnings
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import Augmentation
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Model
from ssl_seg.data.arrays import Arrays
from ssl_seg.data.canvases import WHOLE
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.engine.train_step import TrainStep
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.methods.byol import BYOL
from ssl_seg.tasks.segmentation import SegmentationTask
from ssl_seg.workflows.batches import draws_of

CASES = ("resnet50:128:64", "resnet18:64:64", "deeplabv3:512:8", "resnet50:128:128", "resnet50:128:256")
VARIANTS = ("eager", "graph", "compile", "both")
CLASSES = 6
WARM = 3


class Step:
    """BYOL on a network, or DeepLabV3; an image size and a batch; by the parts that the commands have."""

    def __init__(self, case: str, cache: ImageCache, variant: str, *, streamed: bool, cpu: bool) -> None:
        model, size, batch = case.split(":")
        torch.manual_seed(0)
        compiled = variant in ("compile", "both")
        self.device = Device(compile=compiled, cpu=cpu, cuda_graph=not cpu and variant in ("graph", "both"))
        self.method, self.batch = made(model), int(batch)
        self.compute = TrainStep(self.method, self.device)
        self.optimizer = build_optimizer("adamw", build_param_groups(self.method, 1e-4), 1e-3)
        views = getattr(self.method, "views", [View()])
        self.views = Augmentation(views, int(size), compile=compiled)
        fraction = 0.0 if streamed else 0.4
        self.loader = Loader(
            cache, self.batch, 0, self.device.device, memory_fraction=fraction, draw=self.views.draw
        )
        self.fixed = self.inputs(0)

    def inputs(self, step: int) -> list:
        batch = self.loader.batch_at(step)
        draws = draws_of(batch)[0]
        views = self.views.make(batch.images, draws, batch.epoch)
        return [views if batch.masks is None else [views[0], self.views.masks(batch.masks, draws)]]

    def bound(self, steps: int) -> None:
        """The step alone, on tensors that are there."""
        for _ in range(steps):
            self.compute(self.fixed[0], 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            getattr(self.method, "after_step", lambda progress: None)(0.5)

    def end_to_end(self, steps: int) -> float:
        """Seconds of `fit` from the end of its warm-up to the end of its last step."""
        started = 0.0

        def feed(step: int) -> list:
            nonlocal started
            if step == WARM:
                self.wait()
                started = perf_counter()
            return self.inputs(step)

        plan = Schedule(steps + WARM, 10**6, self.batch, lr_at=lambda _: 1e-3, save_every_seconds=1e9)
        ended: list[float] = []
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as run:
            fit(
                self.method, feed, self.optimizer, plan,
                device=self.device, run=run, signals=SignalHandler(),
                observers=[_Last(ended, steps + WARM, self.wait)],
            )  # fmt: skip
        return ended[0] - started

    def wait(self) -> None:
        if self.device.device.type == "cuda":
            torch.cuda.synchronize()


class _Last:
    """Notes when the last step was done: what follows it, a checkpoint, is not part of a step."""

    def __init__(self, ended: list[float], last: int, wait) -> None:
        self.ended, self.last, self.wait = ended, last, wait

    def step_end(self, run, step, scores) -> None:
        if step == self.last:
            self.wait()
            self.ended.append(perf_counter())


def made(model: str) -> torch.nn.Module:
    if model != "deeplabv3":
        return BYOL(TimmBackbone(model))
    backbone = TimmBackbone("resnet50", output_stride=8)
    return SegmentationTask(Model(backbone, DeepLabV3(backbone.channels, backbone.strides, CLASSES)))


def opened(case: str, folder: Path) -> ImageCache:
    """Images of twice the side, as many as two batches; with masks for a segmentation model."""
    model, size, batch = case.split(":")
    if model != "deeplabv3":
        return open_image_cache(DemoDataset("train", 2 * int(batch)), 2 * int(size), folder)
    random = np.random.default_rng(0)
    shape = 2 * int(batch), 2 * int(size), 2 * int(size)
    images = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    masks = random.integers(0, CLASSES, shape, dtype=np.uint8)
    return open_image_cache(
        Arrays(images, masks, classes=[str(each) for each in range(CLASSES)]), WHOLE, folder
    )


def timed(step: Step, steps: int) -> float:
    step.wait()
    started = perf_counter()
    step.bound(steps)
    step.wait()
    return perf_counter() - started


def on_gpu(step: Step) -> dict:
    """Kernels of a step, the share of time that the GPU is busy, and what waits for it."""
    if step.device.device.type != "cuda":
        return {}
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        seconds = timed(step, 3)
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.device_time_total for event in kernels) / 1e6
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(1, 4):
            step.inputs(number)
        step.bound(1)
    torch.cuda.set_sync_debug_mode("default")
    waits = sorted({f"{Path(each.filename).name}:{each.lineno}" for each in caught})
    return {"kernels": len(kernels) // 3, "busy": round(busy / seconds, 3), "waits": waits}


def measure(case: str, cache: ImageCache, given: argparse.Namespace, variant: str, place: str) -> dict:
    step = Step(case, cache, variant, streamed=place == "streamed", cpu=given.cpu)
    step.bound(WARM)
    speeds = {"bound": [], "end_to_end": []}
    for _ in range(given.repeats):
        images = step.batch * given.steps
        speeds["bound"].append(images / timed(step, given.steps))
        speeds["end_to_end"].append(images / step.end_to_end(given.steps))
    middle = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    ratio = statistics.median(a / b for a, b in zip(speeds["end_to_end"], speeds["bound"], strict=True))
    known = {"case": case, "variant": variant, "images": place, "device": step.device.describe()}
    return known | middle | {"ratio": round(ratio, 3)} | on_gpu(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", help="model:size:batch")
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--images", action="append", choices=("resident", "streamed"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--cpu", action="store_true")
    given, started = parser.parse_args(), perf_counter()
    places = given.images or ("resident", "streamed")
    with tempfile.TemporaryDirectory() as scratch:
        for case in given.case or CASES:
            cache = opened(case, Path(scratch))
            for variant, place in product(given.variant or VARIANTS, places):
                if perf_counter() - started > 60 * given.minutes:
                    print(
                        json.dumps({"case": case, "variant": variant, "images": place, "left out": "time"}),
                        flush=True,
                    )
                else:
                    print(json.dumps(measure(case, cache, given, variant, place)), flush=True)


if __name__ == "__main__":
    main()
