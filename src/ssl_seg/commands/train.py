"""`ssl-seg train`: pre-train a backbone without labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.console import Console
from ssl_seg.commands.running import recorded
from ssl_seg.engine.stop import Stop
from ssl_seg.errors import UsageError
from ssl_seg.run import Run

if TYPE_CHECKING:
    from ssl_seg.base import SSLMethod
    from ssl_seg.data.store import Store
    from ssl_seg.engine.device import Device
    from ssl_seg.plugins import Plugins


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
    compile: flags.Compile = False,
    cpu: flags.Cpu = False,
    probe: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled images for a k-NN accuracy on the way.")
    ] = None,
    probe_every: Annotated[int, typer.Option(min=1, help="Epochs between two of them.")] = 1,
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
) -> None:
    """Pre-train a backbone on images without labels.

    The folder in --out gets the weights (backbone.safetensors), the scores of every epoch, and
    checkpoints from which --resume goes on bit for bit.
    """
    settings = {name: flags.plain(value) for name, value in locals().items()}
    for name in ("out", "config", "resume", "option"):
        del settings[name]
    settings["o"] = flags.read_options(option or [])
    if data is None:
        raise UsageError("no DATA given", next="ssl-seg train FOLDER, or ssl-seg train --resume --out RUN")
    if batch_size % accumulate:
        raise UsageError(f"a batch of {batch_size} cannot be cut into {accumulate} equal parts")
    folder = out or Path("runs") / "-".join(map(flags.short, (ssl, backbone, data)))
    with Stop() as stop, Console() as console:
        plugins = _plugins_with(ssl, backbone)
        device = _device(precision, compile, cpu)
        console.quiet = not device.is_main
        with Run(folder, resume=resume, main=device.is_main) as run, recorded(run):
            if resume:
                flags.refuse_changes(settings, run.settings())
            _Training(settings, plugins, device, run, stop, console).go()


def _plugins_with(ssl: str, backbone: str) -> "Plugins":
    """All plugins, after a look whether they hold the two names: a typing error costs no time."""
    from ssl_seg.plugins import load_plugins

    plugins = load_plugins()
    plugins.registry.factory("ssl", ssl)
    plugins.registry.factory("backbones", backbone)
    return plugins


def _device(precision: Any, compile: bool, cpu: bool) -> "Device":
    from ssl_seg.engine.device import Device

    return Device(precision, compile=compile, cpu=cpu)


class _Training:
    """From settings to a trained backbone, in the order in which a person would think of it."""

    def __init__(
        self,
        settings: dict[str, Any],
        plugins: "Plugins",
        device: "Device",
        run: Run,
        stop: Stop,
        console: Console,
    ) -> None:
        self.settings, self.plugins, self.device = settings, plugins, device
        self.run, self.stop, self.console = run, stop, console
        self.options: dict[str, dict[str, str]] = settings["o"]

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        from ssl_seg.commands.settings import plan_of, record
        from ssl_seg.data.batches import Batches
        from ssl_seg.engine.fit import fit
        from ssl_seg.engine.health import CollapseAlarm

        given, device = self.settings, self.device
        method = self.build_method()
        store = self.open(given["data"], "data")
        size, seed = given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        plan, optimizer = plan_of(given, method, method.recipe, batches.per_epoch)
        stores = {"data": store}
        if given["probe"]:
            stores["probe"] = self.open(given["probe"], "probe")
        record(self.run, given, stores, batches.per_epoch, device)
        probe = self.make_probe(stores["probe"]) if given["probe"] else None
        self.console.say(
            f"{given['ssl']} on {given['backbone']}: {len(store)} images, {given['epochs']} epochs of "
            f"{batches.per_epoch} steps, {device.describe()}\nrun: {self.run.folder}"
        )
        notify = self.plugins.notify
        notify("run_start", run=self.run)
        self.draw_views(method, batches.at(0))

        def feed(step: int) -> list[Any]:
            return self.views(method, batches.at(step))

        def on_epoch(epoch: int) -> dict[str, float]:
            due = probe and (epoch % given["probe_every"] == 0 or epoch == given["epochs"])
            scores = probe(method.backbone) if probe and due else {}
            for name, value in scores.items():
                self.console.say(f"epoch {epoch}: {name} {value:.3f}")
            return scores

        fit(
            method,
            feed,
            optimizer,
            plan,
            device=device,
            run=self.run,
            stop=self.stop,
            alarm=CollapseAlarm() if given["on_collapse"] == "stop" else None,
            on_epoch=on_epoch,
            after_epoch=lambda epoch, scores: notify("epoch_end", run=self.run, epoch=epoch, scores=scores),
            report=self.console.training,
        )
        self.finish(method, plan.total)

    def build_method(self) -> "SSLMethod":
        """The method on a new backbone; weights depend on the seed alone."""
        import torch

        registry, given = self.plugins.registry, self.settings
        torch.manual_seed(given["seed"])
        backbone = registry.build("backbones", given["backbone"], options=self.options.get("backbone"))
        method: SSLMethod = registry.build("ssl", given["ssl"], backbone, options=self.options.get("ssl"))
        return method

    def open(self, spec: str, group: str) -> "Store":
        """The store of the images that `spec` names."""
        from ssl_seg.commands.data import load, open_dataset

        given, labelled = self.settings, group == "probe"
        options = self.options.get("data", {}) if not labelled else {}
        dataset = open_dataset(self.plugins.registry, spec, labelled=labelled, options=options)
        return load(
            dataset,
            given["image_size"],
            self.console,
            self.stop,
            canvas=given["canvas"],
            cache=Path(given["cache"]) if given["cache"] else None,
            bad_images=given["bad_images"],
        )

    def make_probe(self, store: "Store") -> Any:
        """The k-NN probe on labelled images."""
        from ssl_seg.commands.probe import Probe

        return Probe(
            self.plugins.registry,
            store,
            self.device,
            size=self.settings["image_size"],
            options=self.options.get("probe", {}),
            stopped=lambda: bool(self.stop.signal),
        )

    def views(self, method: "SSLMethod", batch: Any) -> list[Any]:
        """The views of a batch, in as many parts as gradients are accumulated over."""
        from ssl_seg.augment.views import augment

        given = self.settings
        views = augment(
            batch.images,
            batch.sizes,
            batch.samples,
            method.views,
            seed=given["seed"],
            epoch=batch.epoch,
            size=given["image_size"],
        )
        parts = [view.chunk(given["accumulate"]) for view in views]
        return [list(part) for part in zip(*parts, strict=True)]

    def draw_views(self, method: "SSLMethod", batch: Any) -> None:
        """A sheet of the first views, to see what the network is going to see."""
        from ssl_seg.figures.views import draw_views

        if self.device.is_main and not self.run.resume:
            first = [part[:8] for part in self.views(method, batch)[0]]
            draw_views(self.run.folder / "figures" / "views.png", batch.images[: len(first[0])], first)

    def finish(self, method: "SSLMethod", step: int) -> None:
        """Write the backbone and say where things are."""
        from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
        from ssl_seg.engine.weights import save_backbone

        given, run = self.settings, self.run
        about = {
            "backbone": given["backbone"],
            "options": self.options.get("backbone", {}),
            "image_size": given["image_size"],
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "trained_by": given["ssl"],
            "epochs": given["epochs"],
        }
        if self.device.is_main:
            save_backbone(run.folder / "backbone.safetensors", method.backbone, about)
            run.set_status("finished", step=step, code=0, checkpoint=f"step-{step:06d}")
        self.plugins.notify("run_end", run=run)
        last = run.scores()[-1]
        scores = ", ".join(f"{name} {last[name]:.3f}" for name in last if name.startswith(("loss", "probe")))
        self.console.say(f"finished: {scores}\nweights: {run.folder / 'backbone.safetensors'}")
