"""Does it learn? k-NN and linear accuracy on held-back images, over seeds, beside lightly's BYOL.

    python -m benchmarks.learning LABELS.csv --images FOLDER --systems byol,simclr,lightly-byol

Networks are trained without labels on six sevenths of the images; a seventh of every class is held
back and classified by its neighbours, or by a logistic regression, on features of the others. The
last epoch counts. Every run is a line of JSON in --out; runs found there are not repeated.
Without LABELS.csv, painted scenes are used.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.peers import LightlyBYOL
from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Backbone, Dataset
from ssl_seg.data.image_cache import Store, open_store
from ssl_seg.data.loader import Batches
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.datasets.demo import Demo
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.engine.loop import fit
from ssl_seg.engine.monitors import CollapseMonitor
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.metrics.knn import KNN
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.knn_probe import holdout_split
from ssl_seg.workflows.optimization import configure_optimizer

SHARE = 1 / 7
Scores = list[dict[str, float]]


class Rows(Dataset):
    """Some images of a dataset."""

    def __init__(self, dataset: Dataset, rows: list[int]) -> None:
        self.dataset, self.rows, self.classes = dataset, rows, dataset.classes
        self.samples = [dataset.samples[row] for row in rows]

    def identity(self, index: int) -> str:
        return self.dataset.identity(self.rows[index])

    def image(self, index: int, canvas: int):
        return self.dataset.image(self.rows[index], canvas)


class Bench:
    """The images, and how a backbone is judged on them."""

    def __init__(self, dataset: Dataset, size: int, batch: int, epochs: int, cache: Path) -> None:
        held = holdout_split(torch.tensor([target for _, target in dataset.samples]), SHARE)
        canvas = 2 * size
        train, val = ((held == part).nonzero()[:, 0].tolist() for part in (False, True))
        self.train = open_store(Rows(dataset, train), canvas, cache)
        self.val = open_store(Rows(dataset, val), canvas, cache)
        self.paths = [Path(getattr(dataset, "root", "")) / dataset.samples[row][0] for row in train]
        self.size, self.batch, self.epochs = size, batch, epochs
        self.device = Device()

    def knn(self, backbone: Backbone) -> float:
        metric = KNN(self.train.classes)
        metric.fill(*self.features(backbone, self.train))
        metric.update(*self.features(backbone, self.val))
        return metric.compute()["knn"]

    def linear(self, backbone: Backbone) -> float:
        bank, labels = self.features(backbone, self.train)
        queries, truth = self.features(backbone, self.val)
        scaler = StandardScaler().fit(bank.cpu())
        model = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(bank.cpu()), labels.cpu())
        return float(model.score(scaler.transform(queries.cpu()), truth.cpu()))

    def features(self, backbone: Backbone, store: Store) -> tuple[Tensor, Tensor]:
        return extract_features(backbone, store, self.device, size=self.size)


def ours(name: str) -> Callable[[Bench, str, int], Scores]:
    """Train by a method of the registry with its own defaults, as `ssl-seg train` does."""

    def run(bench: Bench, model: str, seed: int) -> Scores:
        torch.manual_seed(seed)
        method = load_plugins().registry.build("ssl", name, TimmBackbone(model))
        batches = Batches(bench.train, bench.batch, seed, bench.device.device)
        config = PretrainConfig(epochs=bench.epochs, batch_size=bench.batch).resolved(method.recipe, name)
        optimizer, plan = configure_optimizer(config, method, batches.per_epoch)

        def feed(step: int) -> list[list[Tensor]]:
            b = batches.at(step)
            common = {"seed": seed, "epoch": b.epoch, "size": bench.size}
            return [augment(b.images, method.views, b.sizes, b.samples, **common)]

        clock = Clock(bench, method.backbone)
        bench.device.prepare(method)
        clock.look(0)
        with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as record:
            fit(
                method, feed, optimizer, plan,
                device=bench.device, run=record, signals=SignalHandler(), monitor=CollapseMonitor(), on_epoch_end=clock.look,
            )  # fmt: skip
        return clock.finish()

    return run


class Clock:
    """k-NN after every epoch, with the seconds of training until then."""

    def __init__(self, bench: Bench, backbone: Backbone) -> None:
        self.bench, self.backbone, self.scores, self.spent = bench, backbone, [], 0.0
        self.resumed = perf_counter()

    def look(self, epoch: int) -> dict[str, float]:
        self.spent += perf_counter() - self.resumed if epoch else 0.0
        knn = self.bench.knn(self.backbone)
        self.scores.append({"epoch": epoch, "seconds": round(self.spent, 1), "knn": knn})
        print(f"  epoch {epoch}: k-NN {knn:.3f} after {self.spent:.0f} s", flush=True)
        self.resumed = perf_counter()
        return {"knn": knn}

    def finish(self) -> Scores:
        self.scores[-1]["linear"] = self.bench.linear(self.backbone)
        return self.scores


def lightly_byol(bench: Bench, model: str, seed: int) -> Scores:
    """Train by lightly's documented example."""
    torch.manual_seed(seed)
    peer = LightlyBYOL(bench.paths, model, bench.size, bench.batch, epochs=bench.epochs, bf16=False)
    clock = Clock(bench, Pooled(peer.backbone))
    clock.look(0)
    for epoch in range(1, bench.epochs + 1):
        peer.train_epoch()
        clock.look(epoch)
    return clock.finish()


class Pooled(Backbone):
    """A network that ends in pooled features, as a backbone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.net(images)]


def table(lines: list[dict], count: int) -> Iterator[str]:
    """Mean ± sd over seeds of the last epoch, and how far above the untrained network."""
    yield f"{'':16}{'seeds':>6}{'epochs':>7}{'minutes':>9}{'k-NN':>16}{'linear':>16}{'above untrained':>17}"
    for system in dict.fromkeys(line["system"] for line in lines):
        runs = [line["scores"] for line in lines if line["system"] == system]
        last = [run[-1] for run in runs]
        knn, linear = ([score[key] for score in last] for key in ("knn", "linear"))
        gain = statistics.mean(run[-1]["knn"] - run[0]["knn"] for run in runs)
        middle = statistics.mean(knn)
        error = math.sqrt(middle * (1 - middle) / count)
        minutes = statistics.mean(score["seconds"] for score in last) / 60
        yield (
            f"{system:16}{len(runs):6}{last[0]['epoch']:7}{minutes:9.1f}{spread(knn):>16}{spread(linear):>16}"
            f"{gain:+9.3f} ({gain / error:.1f} se)"
        )
    first = [line["scores"][0]["knn"] for line in lines]
    if first:
        yield f"untrained k-NN {spread(first)}; one standard error on {count} images is about "
        yield f"{math.sqrt(0.25 / count):.3f}"


def spread(values: list[float]) -> str:
    sd = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {sd:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("labels", nargs="?")
    parser.add_argument("--images")
    parser.add_argument("--systems", default="byol")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("learning.jsonl"))
    given = parser.parse_args()
    dataset = csv_labels(given.labels, "", images=given.images) if given.labels else Demo("train", 1400)
    key = {name: getattr(given, name) for name in ("labels", "model", "size", "batch", "epochs")}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(dataset, given.size, given.batch, given.epochs, Path(scratch))
        for seed in range(given.seeds):
            for system in given.systems.split(","):
                if any(line["system"] == system and line["seed"] == seed for line in _lines(given.out, key)):
                    continue
                print(f"{system}, seed {seed}", flush=True)
                train = lightly_byol if system == "lightly-byol" else ours(system)
                line = {"key": key, "system": system, "seed": seed, "scores": train(bench, given.model, seed)}
                with given.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        print(f"\n{given.model}, {given.size} px, batch {given.batch}, {bench.device.describe()}")
        print(f"{len(bench.train)} images, {len(bench.val)} held back")
        print("\n".join(table(_lines(given.out, key), len(bench.val))))


def _lines(path: Path, key: dict) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["key"] == key]


if __name__ == "__main__":
    main()
