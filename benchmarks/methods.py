"""Compare SSL methods on the same images: k-NN and linear accuracy on images held back, beside lightly.

    python -m benchmarks.methods LABELS.csv --images FOLDER --systems byol "swav queue=512" lightly-byol

A system is a method of the registry with its options, or settings of the run: `byol decay=0.97 lr=2e-3`, and of the
backbone: `simmim backbone=vit_tiny_patch16_224 backbone.pool=mean`;
or `untrained`, `lightly-byol`, `lightly-simclr`. Networks are trained without labels on the images that are not held
back; a seventh of every class is the test part, another seventh the validation part on which defaults are searched
(`--part val`; it is trained on otherwise). Features of the last epoch are classified by k-NN (k 20) and by logistic
regression, both with the trained images as the bank. With `--equal compute` a method that needs twice as many
floating-point operations for an image as BYOL on the same network gets half the epochs. Every run is a line of JSON in `--out`; runs found there are not repeated, so the whole can
be done in parts. Without LABELS.csv, synthetic scenes are used.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import ssl_seg
from benchmarks.peers import LightlyBYOL, LightlySimCLR
from ssl_seg import (
    KNN,
    Backbone,
    Device,
    PretrainConfig,
    extract_features,
    linear_probe,
    open_image_cache,
)
from ssl_seg.augment.views import augment
from ssl_seg.data.subset import Subset
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.engine.flops import training_flops
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.code_names import TypedName
from ssl_seg.workflows.knn_probe import holdout_split

PEERS = {"lightly-byol": LightlyBYOL, "lightly-simclr": LightlySimCLR}
SETTINGS = {field.name for field in fields(PretrainConfig)}
FRACTION = 1 / 7


def parts_of(dataset: ssl_seg.Dataset) -> dict[str, list[int]]:
    """Indices of the test part, of the validation part and of the rest, a fixed fraction of every class."""
    targets = torch.tensor([target for _, target in dataset.samples])
    first = holdout_split(targets, FRACTION)
    rest = (~first).nonzero()[:, 0]
    second = rest[holdout_split(targets[rest], FRACTION / (1 - FRACTION))]
    is_second = torch.zeros_like(first).index_fill(0, second, True)
    masks = {"val": first, "test": is_second, "rest": ~first & ~is_second}
    return {name: mask.nonzero()[:, 0].tolist() for name, mask in masks.items()}


class System:
    """A method with options and settings, by its text."""

    def __init__(self, text: str, args: argparse.Namespace) -> None:
        self.name, *pairs = text.split()
        options = dict(pair.split("=", 1) for pair in pairs)
        self.backbone = options.pop("backbone", args.backbone)
        prefix = "backbone."
        own = [key for key in options if key.startswith(prefix)]
        self.backbone_options = {key.removeprefix(prefix): options.pop(key) for key in own}
        self.settings = {key: _number(options.pop(key)) for key in list(options) if key in SETTINGS}
        self.options = options

    def method(self) -> ssl_seg.SSLMethod:
        registry = load_plugins().registry
        backbone = registry.build("backbones", self.backbone, options=self.backbone_options)
        return registry.build("ssl", TypedName(self.name), backbone, options=self.options)


class Bench:
    """The images, and how a backbone is evaluated on them."""

    def __init__(self, dataset: ssl_seg.Dataset, args: argparse.Namespace, cache: Path) -> None:
        parts = parts_of(dataset)
        held = parts[args.part]
        trained = sorted(set(range(len(dataset))) - set(held) - set(parts["test"]))
        self.dataset = Subset(dataset, trained)
        self.paths = [Path(dataset.file(index)) for index in trained]
        self.args, self.cache, self.device = args, cache, Device(cpu=args.cpu)
        self.bank, self.held = (
            open_image_cache(Subset(dataset, indices), 2 * args.size, cache) for indices in (trained, held)
        )

    def evaluate(self, backbone: Backbone) -> dict[str, Any]:
        """k-NN and linear accuracy, and which images k-NN classified rightly, as text of 0 and 1."""
        bank, labels = extract_features(backbone, self.bank, self.device, size=self.args.size)
        queries, truth = extract_features(backbone, self.held, self.device, size=self.args.size)
        metric = KNN(self.bank.classes)
        metric.fill(bank, labels)
        right = []
        for query, target in zip(queries.split(1), truth.split(1), strict=True):
            metric.reset()
            metric.update(query, target)
            right.append(round(metric.compute()["knn"]))
        inner = holdout_split(labels.cpu()).to(labels.device)
        logits, _ = linear_probe(bank, labels, queries, len(self.bank.classes), inner)
        linear = float((logits.argmax(dim=1) == truth).double().mean())
        scores = {"knn": statistics.mean(right), "linear": linear, "within": self._within(bank, labels)}
        return scores | {"right": "".join(map(str, right))}

    def _within(self, bank: Tensor, labels: Tensor) -> float:
        """k-NN accuracy of every tenth of the images trained on, by the others: many images, so little noise.

        Their labels were not trained on, but the images were: it serves to choose defaults, not to report them.
        """
        fold = torch.arange(len(bank)) % 10
        metric = KNN(self.bank.classes)
        for index in range(10):
            metric.fill(bank[fold != index], labels[fold != index])
            metric.update(bank[fold == index], labels[fold == index])
        return metric.compute()["knn"]

    def run(self, text: str, seed: int) -> dict[str, Any]:
        """Train one system and evaluate it."""
        torch.manual_seed(seed)
        started = perf_counter()
        if text in PEERS:
            epochs, backbone = self.args.epochs, self._train_peer(text)
        else:
            name, *options = text.split()
            is_trained = name != "untrained"
            system = System(" ".join([name if is_trained else "byol", *options]), self.args)
            epochs = self._epochs(system) if is_trained else 0
            backbone = self._train(system, epochs, seed)
        return {"epochs": epochs, "seconds": round(perf_counter() - started, 1), **self.evaluate(backbone)}

    def _train(self, system: System, epochs: int, seed: int) -> Backbone:
        torch.manual_seed(seed)
        method = system.method()
        if epochs == 0:
            self.device.to_device(method)
            return method.backbone
        with tempfile.TemporaryDirectory() as folder:
            settings = {"batch_size": self.args.batch, "image_size": self.args.size} | system.settings
            run = ssl_seg.pretrain(
                method, self.dataset, out=f"{folder}/run", epochs=epochs, seed=seed, cpu=self.args.cpu,
                cache=str(self.cache), progress=False, **settings,
            )  # fmt: skip
            return run.backbone

    def _train_peer(self, name: str) -> Backbone:
        size, batch, epochs = self.args.size, self.args.batch, self.args.epochs
        peer = PEERS[name](self.paths, self.args.backbone, size, batch, epochs=epochs, bf16=False)
        for _ in range(epochs):
            peer.train_epoch()
        return Pooled(peer.backbone)

    def _epochs(self, system: System) -> int:
        """As many as were asked for, or as BYOL could do with so much computing."""
        if self.args.equal == "epochs":
            return int(self.args.epochs)
        byol = System(f"byol backbone={system.backbone}", self.args)
        own, byols = (self._flops(each) for each in (system, byol))
        return max(1, round(self.args.epochs * byols / own))

    def _flops(self, system: System) -> int:
        """Operations of training on one image, as a study counts them."""
        method, images = system.method(), self.bank.images[:8]
        sides = {"size": self.args.size, "multiple": method.backbone.side_multiple}
        views = augment(images, method.views, self.bank.sizes[:8], seed=0, **sides)
        facts = views.with_facts(targets=self.bank.targets[:8])
        flops = training_flops(method, facts, Device(cpu=True))
        assert flops is not None, f"{system.name}: operations cannot be counted"
        return flops


class Pooled(Backbone):
    """A network that ends in pooled features, as a backbone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.net(images)]


def table(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Mean ± sd over seeds at the last epoch, and the distance to the untrained network in standard errors."""
    yield "| system | seeds | epochs | minutes | k-NN | linear | above untrained (k-NN) |"
    yield "|---|---|---|---|---|---|---|"
    by_system = {
        line["system"]: [each for each in lines if each["system"] == line["system"]] for line in lines
    }
    untrained = (
        statistics.mean(line["knn"] for line in by_system.get("untrained", []))
        if "untrained" in by_system
        else None
    )
    for system, runs in by_system.items():
        knn, linear = ([run[key] for run in runs] for key in ("knn", "linear"))
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        yield (
            f"| {system} | {len(runs)} | {runs[0]['epochs']} | {minutes:.1f} | {spread(knn)} | {spread(linear)} "
            f"| {_above(knn, untrained, len(runs[0]['right']))} |"
        )


def _above(knn: list[float], untrained: float | None, count: int) -> str:
    """Of the difference of two accuracies on `count` images, as if they were independent."""
    if untrained is None:
        return ""
    mean = statistics.mean(knn)
    error = math.sqrt((mean * (1 - mean) + untrained * (1 - untrained)) / count)
    return f"{mean - untrained:+.3f} ({(mean - untrained) / error:.1f} standard errors)"


def spread(values: list[float]) -> str:
    sd = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{sd}"


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("labels", nargs="?")
    parser.add_argument("--images")
    parser.add_argument("--systems", nargs="*", default=["untrained", "byol"])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--part", choices=("test", "val"), default="test")
    parser.add_argument("--equal", choices=("epochs", "compute"), default="epochs")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("methods.jsonl"))
    args = parser.parse_args()
    dataset = csv_labels(args.labels, "", images=args.images) if args.labels else DemoDataset("train", 1400)
    name = Path(args.labels).name if args.labels else "demo"
    key = {"data": name} | {k: getattr(args, k) for k in ("backbone", "size", "batch", "part", "equal")}
    key["budget"] = args.epochs
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(dataset, args, Path(scratch))
        for seed in args.seeds:
            for system in args.systems:
                if any(line["system"] == system and line["seed"] == seed for line in _lines(args.out, key)):
                    continue
                line = {"key": key, "system": system, "seed": seed, **bench.run(system, seed)}
                print(
                    f"{system}, seed {seed}: k-NN {line['knn']:.3f}, linear {line['linear']:.3f}, "
                    f"k-NN within {line['within']:.3f}",
                    flush=True,
                )
                with args.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        print(f"\n{args.backbone}, {args.size} px, batch {args.batch}, {bench.device.describe()}")
        print(f"{len(bench.bank)} images trained on, {len(bench.held)} held back ({args.part})\n")
        print("\n".join(table(_lines(args.out, key))))


def _lines(path: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["key"] == key]


if __name__ == "__main__":
    main()
