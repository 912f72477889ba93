"""What a GPU does in a step of BYOL, and how much of it could be spared.

    python -m benchmarks.gpu [--case resnet50:128:64] [--variant eager] [--steps 20] [--cpu]

One JSON line for each case, variant (`eager`, `compile`) and place of the images (`resident`, `streamed`): images per second
of `fit` from the cache, with all its checks and without waits inside; of the bound, the same step on fixed tensors; and, on a
GPU, kernels and busy share of a step by the profiler, and the calls that wait for the device. Needs torch and this
repository. With --cpu, on small cases, it shows that it works; images are then neither resident nor streamed, but read.
"""

import argparse
import json
import statistics
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

from ssl_seg.augment.views import Augmentation
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.methods.byol import BYOL
from ssl_seg.workflows.batches import draws_of

CASES = ("resnet50:128:64", "resnet50:128:128", "resnet50:128:256", "resnet18:64:64")
WARM = 3


class Step:
    """BYOL on a network, an image size and a batch, by the parts that `train` has."""

    def __init__(self, case: str, cache: ImageCache, *, compiled: bool, streamed: bool, cpu: bool) -> None:
        model, size, batch = case.split(":")
        torch.manual_seed(0)
        self.device = Device(compile=compiled, cpu=cpu)
        self.method, self.batch = BYOL(TimmBackbone(model)), int(batch)
        self.module = self.device.prepare(self.method)
        self.optimizer = build_optimizer("adamw", build_param_groups(self.method, 1e-4), 1e-3)
        self.views = Augmentation(self.method.views, int(size), compile=compiled)
        fraction = 0.0 if streamed else 0.4
        self.loader = Loader(
            cache, self.batch, 0, self.device.device, memory_fraction=fraction, draw=self.views.draw
        )
        self.fixed = self.inputs(0)

    def inputs(self, step: int) -> list:
        batch = self.loader.batch_at(step)
        return [self.views.make(batch.images, draws_of(batch)[0], batch.epoch)]

    def bound(self, steps: int) -> None:
        """The step alone, on tensors that are there."""
        for _ in range(steps):
            with self.device.autocast():
                loss = self.module(self.fixed[0])["loss"]
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.method.after_step(0.5)

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
    step = Step(case, cache, compiled=variant == "compile", streamed=place == "streamed", cpu=given.cpu)
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
    parser.add_argument("--variant", action="append", choices=("eager", "compile"))
    parser.add_argument("--images", action="append", choices=("resident", "streamed"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    cases = given.case or CASES
    count = max(2 * int(case.split(":")[2]) for case in cases)
    with tempfile.TemporaryDirectory() as scratch:
        side = max(int(case.split(":")[1]) for case in cases)
        cache = open_image_cache(DemoDataset("train", count), 2 * side, Path(scratch))
        for case in cases:
            for variant in given.variant or ("eager", "compile"):
                for place in given.images or ("resident", "streamed"):
                    print(json.dumps(measure(case, cache, given, variant, place)), flush=True)


if __name__ == "__main__":
    main()
