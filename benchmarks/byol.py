"""Speed of a BYOL step: the compute bound, ssl-seg from a folder, lightly, byol-pytorch, solo-learn's loop.

    python -m benchmarks.byol [FOLDER] [--repeats 3] [--steps 6] [--case resnet18:64:64]

All are timed in turns in one process, several times; the medians count. Peers read the same files
with their own loaders and documented transforms. Without FOLDER, painted scenes are written first.
"""

import argparse
import gc
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.peers import BYOLPytorch, LightlyBYOL, SoloLearnBYOL
from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.datasets.flat_folder import flat_folder
from ssl_seg.engine.device import Device, has_bf16
from ssl_seg.engine.loop import fit
from ssl_seg.engine.monitors import CollapseMonitor
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.methods.byol import BYOL

WARM = 2


class Ours:
    """ssl-seg: `fit` on a store, with all its checks; or the bare step on tensors that are there."""

    def __init__(self, image_cache: ImageCache, model: str, size: int, batch: int) -> None:
        torch.manual_seed(0)
        self.device = Device()
        self.method = BYOL(TimmBackbone(model))
        self.module = self.device.prepare(self.method)
        self.optimizer = build_optimizer("adamw", build_param_groups(self.method, 1e-4), 1e-3)
        self.batches = Loader(image_cache, batch, 0, self.device.device)
        self.batch, self.size = batch, size
        self.fixed = self.views(0)

    def views(self, step: int) -> list[torch.Tensor]:
        b = self.batches.batch_at(step)
        return augment(b.images, self.method.views, b.sizes, b.samples, seed=0, epoch=b.epoch, size=self.size)

    def bound(self, steps: int) -> float:
        """The step alone: forward, backward, optimizer, target."""
        started = perf_counter()
        for _ in range(steps):
            with self.device.autocast():
                out = self.module(self.fixed)
            out["loss"].backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.method.after_step(0.5)
        self.wait()
        return perf_counter() - started

    def end_to_end(self, steps: int) -> float:
        """`fit`, timed from the moment its warm-up steps are done to the end of the last step."""
        times: list[float] = []

        def feed(step: int) -> list[list[torch.Tensor]]:
            self.wait()
            times.append(perf_counter())
            return [self.views(step)]

        plan = Schedule(
            total_steps=steps + WARM + 1, steps_per_epoch=10**6, batch_size=self.batch, lr_at=lambda _: 1e-3
        )
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as run:
            fit(
                self.method, feed, self.optimizer, plan,
                device=self.device, run=run, signals=SignalHandler(), monitor=CollapseMonitor(),
            )  # fmt: skip
        return times[WARM + steps] - times[WARM]

    def augment_only(self, steps: int) -> float:
        started = perf_counter()
        for step in range(steps):
            self.views(step)
        self.wait()
        return perf_counter() - started

    def wait(self) -> None:
        if self.device.device.type == "cuda":
            torch.cuda.synchronize()


def measure(case: str, paths: list[Path], image_cache: ImageCache, steps: int, repeats: int) -> None:
    """Time all systems in turns on one model, size and batch; print a table of medians."""
    model, size, batch = case.split(":")
    ours = Ours(image_cache, model, int(size), int(batch))
    systems: dict[str, Callable[[int], float]] = {"bound": ours.bound, "ssl-seg": ours.end_to_end}
    systems["lightly fp32"] = LightlyBYOL(paths, model, int(size), int(batch), epochs=1, bf16=False).run
    if has_bf16(ours.device.device):  # elsewhere it is emulated, and takes minutes for a step
        systems["lightly bf16"] = LightlyBYOL(paths, model, int(size), int(batch), epochs=1, bf16=True).run
    systems["byol-pytorch"] = BYOLPytorch(paths, model, int(size), int(batch)).run
    systems["solo-learn's loop"] = SoloLearnBYOL(paths, model, int(size), int(batch)).run
    for name, run in systems.items():
        if name != "ssl-seg":  # which warms up by itself
            run(WARM)
    speeds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, run in systems.items():
            speeds[name].append(int(batch) * steps / run(steps))
    print(f"\n{model}, {size} px, batch {batch}, {ours.device.describe()}, {repeats} x {steps} steps")
    print(f"{'':18}{'images/s':>10}{'least':>9}{'most':>9}{'to bound':>10}{'ssl-seg is':>12}")
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        to_bound = statistics.median(a / b for a, b in zip(values, speeds["bound"], strict=True))
        faster = statistics.median(a / b for a, b in zip(speeds["ssl-seg"], values, strict=True))
        print(
            f"{name:18}{middle[name]:10.1f}{min(values):9.1f}{max(values):9.1f}{to_bound:10.3f}{faster:11.2f}x"
        )
    rate = statistics.median(int(batch) * 5 / ours.augment_only(5) for _ in range(3))
    print(f"augmentation alone, two views: {rate:.0f} images/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--case", action="append", help="model:size:batch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or _painted(Path(scratch) / "scenes")
        dataset = flat_folder(str(folder), "")
        started = perf_counter()
        image_cache = open_image_cache(dataset, 256, Path(scratch) / "cache")
        print(
            f"store: {len(image_cache)} images at {len(image_cache) / (perf_counter() - started):.0f} images/s"
        )
        paths = [folder / dataset.samples[index][0] for index in range(len(dataset))]
        for case in given.case or ["resnet18:64:64", "resnet50:128:32"]:
            measure(case, paths, image_cache, given.steps, given.repeats)
            gc.collect()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\npeak memory of this process, all systems together: {peak:.1f} GiB")


def _painted(folder: Path) -> Path:
    folder.mkdir()
    demo = DemoDataset("train", 2000)
    from PIL import Image

    for index in range(len(demo)):
        Image.fromarray(demo.image(index, 64)[0]).save(folder / f"{index:05d}.jpg", quality=92)
    return folder


if __name__ == "__main__":
    main()
