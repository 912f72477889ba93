"""`ssl-seg train`: pre-train a backbone without labels."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.training import Training
from ssl_seg.errors import UsageError, counted
from ssl_seg.utils import limits


def train(
    data: flags.Data = None,
    ssl: Annotated[str, typer.Option(help="Method: a name, or FILE.py:CLASS.")] = "byol",
    backbone: flags.Backbone = "resnet50",
    epochs: flags.Epochs = 100,
    batch_size: flags.BatchSize = 64,
    image_size: flags.ImageSize = 128,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
    weight_decay: flags.WeightDecay = None,
    warmup: flags.Warmup = None,
    schedule: flags.Schedule = "cosine",
    clip: flags.Clip = 0.0,
    accumulate: flags.Accumulate = 1,
    seed: flags.Seed = 0,
    precision: flags.Precision = "auto",
    deterministic: flags.Deterministic = False,
    compile: flags.Compile = False,
    cpu: flags.Cpu = False,
    probe: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled images for a k-NN accuracy on the way.")
    ] = None,
    probe_every: Annotated[
        int, typer.Option(min=1, max=limits.COUNT, help="Epochs between two of them.")
    ] = 1,
    on_collapse: Annotated[
        Literal["stop", "ignore"], typer.Option(help="When all images look the same to the network.")
    ] = "stop",
    out: flags.Out = None,
    config: flags.Config = None,
    option: flags.Option = None,
    resume: flags.Resume = False,
    bad_images: flags.BadImages = "stop",
    canvas: flags.Canvas = 0,
    cache: flags.Cache = None,
    save_every: flags.SaveEvery = 0,
    track: flags.Track = None,
) -> None:
    """Pre-train a backbone on images without labels.

    The folder in --out gets the weights (backbone.safetensors), the scores of every epoch, and
    checkpoints from which --resume goes on bit for bit.
    """
    given = defaults.settings(locals())
    if data is None:
        raise UsageError("no DATA given", next="ssl-seg train FOLDER, or ssl-seg train --resume --out RUN")
    folder = out or Path("runs") / "-".join(map(defaults.short, (ssl, backbone, data)))
    Pretraining.start(
        given, folder, resume=resume, names=[("ssl", given["ssl"]), ("backbones", given["backbone"])]
    )


class Pretraining(Training):
    """From settings to a trained backbone, in the order in which a person would think of it."""

    command = "train"

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        from ssl_seg.base import SSLMethod
        from ssl_seg.commands.overlap import shared_with
        from ssl_seg.commands.settings import plan_of, record, warn_of_parts
        from ssl_seg.data.label_checks import check_labels
        from ssl_seg.data.loader import Batches
        from ssl_seg.engine.monitors import CollapseAlarm
        from ssl_seg.engine.recipe import resolve

        given, device = self.given, self.device
        method: SSLMethod = self.build("ssl", given["ssl"], self.new_backbone(), part="ssl")
        suits = resolve(given, method.recipe, f"ssl method {given['ssl']}")
        stores = {"data": self.store(self.dataset("data"))}
        if given["probe"]:
            probed = self.dataset("probe", parts=(), split="train", labelled=True)
            stores["probe"] = self.store(probed)
            check_labels(stores["probe"], probed, given["probe"])
        store, size, seed = stores["data"], given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        plan, optimizer = plan_of(given, method, suits, batches.per_epoch, self.run)
        warn_of_parts(given, method, given["ssl"])
        probe = self.make_probe(stores["probe"]) if given["probe"] else None
        self.resolved.add_views(method.views)
        record(self.run, given, stores, method, batches.per_epoch, device, self.resolved)
        self.console.say(
            f"{given['ssl']} on {given['backbone']}: {len(store)} images, {counted(given['epochs'], 'epoch')} of "
            f"{counted(batches.per_epoch, 'step')}, {device.describe()}",
            f"run: {self.run.folder}",
        )
        if probe and not self.run.resume:
            device.move(method)
            shared = int(shared_with(store, stores["probe"]).sum())
            trained = f"; {shared} of them are trained on, without labels" if shared else ""
            self.console.say(f"probe: {probe.about()}{trained}")
            for name, value in probe(method.backbone).items():
                self.console.say(f"untrained: {name} {value:.3f}")
        first = batches.at(0)
        self.draw_views(first.images, self.views(method.views, first))

        def feed(step: int) -> list[Any]:
            return self.parts(self.views(method.views, batches.at(step)))

        def on_epoch(epoch: int) -> dict[str, float]:
            due = probe and (epoch % given["probe_every"] == 0 or epoch == given["epochs"])
            scores = probe(method.backbone) if probe and due else {}
            for name, value in scores.items():
                self.console.say(f"epoch {epoch}: {name} {value:.3f}")
            return scores

        alarm = CollapseAlarm() if given["on_collapse"] == "stop" else None
        self.fit(method, feed, optimizer, plan, on_epoch, alarm)
        if device.is_main:
            self.save_backbone(method.backbone, trained_by=given["ssl"])
        self.finish(plan.total)
        if not device.is_main:
            return
        last = (self.run.scores() or [{}])[-1]  # of a finished run of 0.1.0 they may be lost
        scores = ", ".join(f"{name} {last[name]:.3f}" for name in last if name.startswith(("loss", "probe")))
        self.console.say(f"finished: {scores}", f"weights: {self.run.folder / 'backbone.safetensors'}")

    def make_probe(self, store: Any) -> Any:
        """The k-NN probe on labelled images."""
        from ssl_seg.commands.probe import Probe

        metric = self.build("metrics", "knn", store.classes, part="probe")
        return Probe(metric, store, self.device, size=self.size, stop=self.stop)
