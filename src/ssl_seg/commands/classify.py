"""`ssl-seg classify`: train a classifier, on top of a pre-trained backbone or from scratch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.training import Training
from ssl_seg.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.batches import Order
    from ssl_seg.data.store import Store
    from ssl_seg.engine.supervised import Supervised

# what suits a labelled data set of some thousand images
RECIPE = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "warmup": 0.05}


def classify(
    train: flags.Train = None,
    val: flags.Val = None,
    backbone: flags.ModelBackbone = None,
    init: flags.Init = None,
    freeze: flags.Freeze = False,
    head: Annotated[str, typer.Option(help="Any of `ssl-seg list heads` that classifies.")] = "linear",
    epochs: flags.Epochs = 100,
    batch_size: flags.BatchSize = 64,
    image_size: flags.ModelImageSize = None,
    any_size: flags.AnySize = False,
    augment: Annotated[
        Literal["none", "light", "strong"], typer.Option(help="Random crops and flips; strong: colours too.")
    ] = "light",
    passes: Annotated[
        int, typer.Option(min=0, help="With --freeze: random views of each image; 0: its centre.")
    ] = 0,
    mixup: Annotated[float, typer.Option(min=0.0, help="Alpha of mixup; 0: none.")] = 0.0,
    label_smoothing: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of the targets.")] = 0.0,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
    backbone_lr: flags.BackboneLr = None,
    weight_decay: flags.WeightDecay = None,
    warmup: flags.Warmup = None,
    schedule: flags.Schedule = "cosine",
    clip: flags.Clip = 0.0,
    accumulate: flags.Accumulate = 1,
    seed: flags.Seed = 0,
    precision: flags.Precision = "auto",
    compile: flags.Compile = False,
    cpu: flags.Cpu = False,
    out: flags.Out = None,
    config: flags.Config = None,
    option: flags.Option = None,
    resume: flags.Resume = False,
    bad_images: flags.BadImages = "stop",
    canvas: flags.Canvas = 0,
    cache: flags.Cache = None,
    save_every: flags.SaveEvery = 0,
) -> None:
    """Train a classifier on labelled images, and measure it on others.

    With --init the backbone starts from a run of `ssl-seg train` or from a weight file; with --freeze
    it stays as it is and only the head is trained.
    """
    given = defaults.settings(locals())
    if train is None:
        raise UsageError("no TRAIN given", next="ssl-seg classify TRAIN --val VAL")
    if freeze and mixup:
        raise UsageError("--mixup mixes images, and --freeze has only their features", next="leave one out")
    name = backbone or (defaults.short(init) if init else "resnet50")
    folder = out or Path("runs") / "-".join(("classify", name, defaults.short(train)))
    names = {"heads": head} | ({"backbones": backbone} if backbone else {})
    Classification.start(given, folder, resume=resume, names=names)


class Classification(Training):
    """From settings to a trained classifier and its numbers."""

    command = "classify"
    how: dict[str, Any]  # mean and std of the normalisation
    val: "Dataset"

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        from ssl_seg.commands.handover import start_from
        from ssl_seg.commands.judge import Judge
        from ssl_seg.commands.settings import plan_of, record
        from ssl_seg.data.batches import Order
        from ssl_seg.engine.supervised import Supervised

        given, device = self.given, self.device
        start = start_from(given, self.options)
        self.how = start.normalisation
        stores = self.stores()
        store, model = stores["train"], self.new_model(len(stores["train"].classes))
        start.load(model.backbone, self.console, resumed=self.run.resume)
        module = Supervised(model, frozen=given["freeze"], label_smoothing=given["label_smoothing"])
        order = Order(len(store), given["batch_size"], given["seed"], rank=device.rank, ranks=device.ranks)
        plan, optimizer = plan_of(given, module, RECIPE, order.per_epoch, backbone="model.backbone.")
        record(self.run, given, stores, order.per_epoch, device)
        self.console.say(
            f"{given['head']} on {given['backbone']}{' (frozen)' if given['freeze'] else ''}: {len(store)} "
            f"images, {len(store.classes)} classes, {given['epochs']} epochs of {order.per_epoch} steps, "
            f"{device.describe()}\nrun: {self.run.folder}"
        )
        device.place(module)
        cached = given["freeze"] and model.head.pools
        feed = self.features_feed(module, store, order) if cached else self.images_feed(module, store)
        judge = Judge(self, module, self.val, stores["val"], cached=cached) if "val" in stores else None
        self.fit(module, feed, optimizer, plan, judge.look if judge else lambda epoch: {})
        if device.is_main:
            self.save(model, store.classes)
            if judge:
                judge.write()
        self.finish(plan.total)
        self.console.say(judge.summary() if judge else f"weights: {self.run.folder / 'model.safetensors'}")

    def stores(self) -> dict[str, "Store"]:
        """Training and validation images; class indices are those of the training images."""
        from ssl_seg.commands.labels import align, tell_overlap

        given = self.given
        train = self.dataset(given["train"], part="data", split="train", labelled=True)
        stores = {"train": self.store(train)}
        if given["val"]:
            self.val = self.dataset(given["val"], part="val", split="val", labelled=True)
            stores["val"] = self.store(self.val)
            align(stores["val"], self.val, stores["train"].classes, given["val"])
            tell_overlap(train, stores["train"], self.val, stores["val"])
        return stores

    def new_model(self, classes: int) -> "Model":
        """Backbone and head, untrained."""
        from ssl_seg.base import Model

        backbone = self.new_backbone()
        shape = backbone.channels, backbone.strides
        return Model(backbone, self.build("heads", self.given["head"], *shape, classes, part="head"))

    def images_feed(self, module: "Supervised", store: "Store") -> Any:
        """Images as the network sees them, with their targets, by the step."""
        from ssl_seg.augment.recipes import TRAIN_VIEWS
        from ssl_seg.augment.views import evaluation_view
        from ssl_seg.data.batches import Batch, Batches
        from ssl_seg.engine.supervised import mixup

        given, device = self.given, self.device
        size, seed = given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        view = TRAIN_VIEWS.get(given["augment"])

        def look(batch: Batch) -> "Tensor":
            if view is None:
                return evaluation_view(batch.images, batch.sizes, size=self.size, **self.how)
            return self.views([view], batch, **self.how)[0]

        def feed(step: int) -> list[list["Tensor"]]:
            batch = batches.at(step)
            images, targets = look(batch), batch.targets
            if alpha := given["mixup"]:
                fixed = {"seed": seed, "epoch": batch.epoch}
                images, targets = mixup(images, targets, len(store.classes), alpha, batch.samples, **fixed)
            return self.parts([images, targets])

        first = batches.at(0)
        self.draw_views(first.images, [look(first)], **self.how)
        return feed

    def features_feed(self, module: "Supervised", store: "Store", order: "Order") -> Any:
        """Features in place of images: a frozen backbone computes them once."""
        from ssl_seg.augment.recipes import TRAIN_VIEWS
        from ssl_seg.engine.supervised import pooled_features

        given = self.given
        view = TRAIN_VIEWS.get(given["augment"])
        passes = given["passes"] if view else 0
        self.console.say(f"features of {len(store)} images, computed {max(1, passes)}x")
        rounds = pooled_features(
            module.model.backbone,
            store,
            self.device,
            size=self.size,
            views=[view] if view else [],
            passes=passes,
            seed=given["seed"],
            **self.how,
        )
        targets = store.targets.to(rounds.device)

        def feed(step: int) -> list[list["Tensor"]]:
            rows = order.rows(step).to(rounds.device)
            features = rounds[order.epoch(step) % len(rounds)]
            return self.parts([features[rows], targets[rows]])

        return feed

    def save(self, model: "Model", classes: list[str]) -> None:
        """Write `model.safetensors`, and the backbone alone for others to start from."""
        from ssl_seg.engine.model_file import save_model

        save_model(self.run.folder / "model.safetensors", model, self.about(classes))
        self.save_backbone(model.backbone, trained_by="classify", **self.how)

    def about(self, classes: list[str]) -> dict[str, Any]:
        """What a model file says of itself."""
        given = self.given
        return {
            "task": "classify",
            "backbone": given["backbone"],
            "options": self.options.get("backbone", {}),
            "head": given["head"],
            "head_options": self.options.get("head", {}),
            "classes": list(classes),
            "image_size": self.size,
            **self.how,
        }
