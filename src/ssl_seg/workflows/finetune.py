"""What `classify` and `segment` do alike: a backbone with a head, trained on labels and measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ssl_seg.errors import Stopped, counted
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.session import Training

if TYPE_CHECKING:
    from torch import nn

    from ssl_seg.augment.views import View
    from ssl_seg.base import Backbone, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.data.loader import Order
    from ssl_seg.workflows.init_weights import Start
    from ssl_seg.workflows.validator import ValidationLog, Validator


def parts_of(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kinds and names of the components that settings name."""
    parts = [("heads", given["head"]), *(("metrics", name) for name in names_in(given["metric"]))]
    return parts + ([("backbones", given["backbone"])] if given["backbone"] else [])


class Finetuning(Training):
    """From settings to a trained model and its numbers.

    A command's own class says what its images are (`stores`), what is trained (`new_module`), on what
    (`new_feed`), and how it is measured (`build_validator`).

    Attributes:
        metric: what measures it, but for `--metric`.
        recipe: optimizer, learning rate, weight decay and warm-up where the user gives none; see
            `ssl_seg.engine.recipe.resolve`.
        norm_recipe: what differs when a backbone with BatchNorm is trained.
        head_recipe: what differs when the head is trained alone.
        how: `mean` and `std` of the normalisation; they come with the weights.
        about_data: what a model file says of the data.
        excluded: indices of the classes that are never predicted.
    """

    metric: ClassVar[str]
    recipe: ClassVar[dict[str, Any]]
    norm_recipe: ClassVar[dict[str, Any]] = {}
    head_recipe: ClassVar[dict[str, Any]] = {}
    how: dict[str, Any]
    about_data: dict[str, Any]
    excluded: Sequence[int] = ()

    @property
    def further(self) -> list[str]:
        """The metrics that are measured besides the command's own."""
        return names_in(self.given["metric"])

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        from ssl_seg.data.loader import Order
        from ssl_seg.engine.recipe import resolve
        from ssl_seg.workflows.init_weights import start_from
        from ssl_seg.workflows.run_config import plan_of, record, warn_of_parts

        given, device, whose = self.given, self.device, f"ssl-seg {self.command}"
        resolve(given, self.recipe_of(None), whose)  # what is missing is found before images are read
        start = start_from(given, self.options, any_size=given.get("any_size", True))
        self.how = start.normalisation
        self.about_data = {}
        stores = self.stores()
        store = stores["train"]
        model = self.new_model(len(store.classes))
        # a resumed run has its own weights, but the features of a frozen backbone come before they are read
        resumed = self.run.resume and not given["freeze"]
        start.load(model.backbone, self.console, resumed=resumed)
        if not resumed:
            self.start_head(model, start)
        module = self.new_module(model, store)
        order = Order(len(store), given["batch_size"], given["seed"], rank=device.rank, ranks=device.ranks)
        suits, backbone = resolve(given, self.recipe_of(model.backbone), whose), "model.backbone."
        plan, optimizer = plan_of(given, module, suits, order.per_epoch, self.run, backbone)
        warn_of_parts(given, module.train(), whose)
        self.resolved.add_views(self.train_views(module, store))
        self.resolved.add(
            "metric", self.plugins.registry.resolved("metrics", self.metric, self.metric_options)
        )
        record(self.run, given, stores, module, order.per_epoch, device, self.resolved)
        self.console.say(
            f"{given['head']} on {given['backbone']}{' (frozen)' if given['freeze'] else ''}: {len(store)} "
            f"images, {len(store.classes)} classes, {counted(given['epochs'], 'epoch')} of "
            f"{counted(order.per_epoch, 'step')}, "
            f"{device.describe()}",
            f"run: {self.run.folder}",
        )
        device.move(module)
        feed = self.new_feed(module, store, order)
        validation = self.validation(module, stores["val"]) if "val" in stores else None
        save_snapshots = self.snapshots(model, store)

        def on_epoch_end(epoch: int) -> dict[str, float]:
            save_snapshots(epoch)
            return validation.validate(epoch) if validation else {}

        self.fit(module, feed, optimizer, plan, on_epoch_end)
        if device.is_main:
            self.save(model, store.classes)
        if validation and not validation.write_result():
            self.stopped()  # all processes learn which signal it was
            raise Stopped(self.stop.signal, next=self.run.again)
        self.finish(plan.total)
        if not device.is_main:
            return
        weights = f"weights: {self.run.folder / 'model.safetensors'}"
        self.console.say(*(validation.summary() if validation else [weights]))

    def stores(self) -> dict[str, "Store"]:
        """The images: `train`, and `val` if there are some to measure on."""
        raise NotImplementedError

    @property
    def metric_options(self) -> dict[str, str]:
        """Of its own metric."""
        return self.options.get("metric", {})

    def train_views(self, module: Any, store: "Store") -> list["View"]:
        """How images for training are drawn; none: their centre, as for measuring."""
        raise NotImplementedError

    def recipe_of(self, backbone: "Backbone | None") -> dict[str, Any]:
        """What suits the model; without a backbone, what suits all."""
        from ssl_seg.engine.recipe import merged
        from ssl_seg.nn.batch_norm import has_batch_norm

        if self.given["freeze"]:
            return merged(self.recipe, self.head_recipe)
        norm = backbone is not None and has_batch_norm(backbone)
        return merged(self.recipe, self.norm_recipe if norm else {})

    def new_module(self, model: "Model", store: "Store") -> "nn.Module":
        """What `fit` trains."""
        raise NotImplementedError

    def new_feed(self, module: Any, store: "Store", order: "Order") -> Any:
        """The inputs of each step."""
        raise NotImplementedError

    def validation(self, module: Any, images: "Store") -> "ValidationLog":
        """Validates the model after each epoch that is due."""
        from ssl_seg.weights.model_file import save_model
        from ssl_seg.workflows.metric_collection import MetricCollection
        from ssl_seg.workflows.validator import ValidationLog

        registry, classes = self.plugins.registry, images.classes
        extra = {name: registry.build("metrics", name, list(classes)) for name in self.further}
        validator = self.build_validator(
            module,
            images,
            registry.build("metrics", self.metric, classes, options=self.metric_options),
            device=self.device,
            normalization=self.how,
            should_stop=lambda: self.stop.signal > 0,
            run_dir=self.run,
            extra_metrics=MetricCollection(extra, classes, pixels=self.command == "segment"),
        )

        def save_best(epoch: int) -> None:
            metadata = self.about(classes) | {"epoch": epoch}
            save_model(self.run.folder / "best.safetensors", module.model, metadata)

        return ValidationLog(
            validator,
            self.run,
            last_epoch=self.given["epochs"],
            is_main=self.device.is_main,
            is_due=self.validates_after,
            save_best=save_best,
            print_line=self.console.say,
        )

    def build_validator(self, module: Any, images: "Store", metric: Any, **common: Any) -> "Validator":
        """What measures the model; `common`: see its class."""
        raise NotImplementedError

    def validates_after(self, epoch: int) -> bool:
        """Whether the model is measured after an epoch."""
        return True

    def snapshots(self, model: "Model", images: "Store") -> Callable[[int], None]:
        """Is called after each epoch, and leaves in the run's folder what figures need of it."""
        return lambda epoch: None

    def new_model(self, classes: int) -> "Model":
        """Backbone and head, untrained."""
        from ssl_seg.base import Model

        backbone = self.new_backbone()
        shape = backbone.channels, backbone.strides
        head = self.build("heads", self.given["head"], *shape, classes, part="head")
        return Model(backbone, head, excluded=self.excluded)

    def start_head(self, model: "Model", start: "Start") -> None:
        """Give the head what the weights hold for it."""

    def save(self, model: "Model", classes: list[str]) -> None:
        """Write `model.safetensors`, and the backbone alone for others to start from."""
        from ssl_seg.weights.model_file import save_model

        save_model(self.run.folder / "model.safetensors", model, self.about(classes))
        self.save_backbone(model.backbone, trained_by=self.command, **self.how)

    def about(self, classes: list[str]) -> dict[str, Any]:
        """What a model file says of itself."""
        from ssl_seg.workflows.data import options_of_run, range_in

        given = self.given
        return {
            "task": self.command,
            "backbone": given["backbone"],
            "options": self.options.get("backbone", {}),
            "head": given["head"],
            "head_options": self.options.get("head", {}),
            "classes": list(classes),
            "image_size": self.size,
            "canvas": self.canvas,
            "precision": self.device.precision,
            "metric_options": self.options.get("metric", {}),
            **self.how,
            **self.about_data,
            **range_in(options_of_run(self.options)),
        }
