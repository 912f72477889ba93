"""Training a classifier on labelled images."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ssl_seg.workflows.finetune import Finetuning

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.augment.views import View
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.data.loader import Order
    from ssl_seg.tasks.classification import Supervised
    from ssl_seg.workflows.classification_validator import ClassificationValidator


class Classification(Finetuning):
    """A model that names what an image shows."""

    command = "classify"
    metric = "accuracy"
    # what suits a labelled data set of some thousand images
    recipe: ClassVar = {
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "warmup": 0.05,
        "adam": {"lr": 1e-3, "weight_decay": 1e-4},  # in Adam, decay is part of the gradient
        "sgd": {"lr": 0.01, "weight_decay": 1e-4},
    }
    # a trained network's weights are long, and where BatchNorm undoes their length, 1e-3 hardly turns them
    norm_recipe: ClassVar = {"lr": 3e-3, "adam": {"lr": 3e-3}, "sgd": {"lr": 0.1}}
    # at 1e-3 a linear head has not arrived after 30 epochs
    head_recipe: ClassVar = {"lr": 1e-2, "adam": {"lr": 1e-2}, "sgd": {"lr": 0.1, "weight_decay": 0.0}}
    train_data: "Dataset"
    val: "Dataset"

    def stores(self) -> dict[str, "Store"]:
        """Training and validation images; class indices are those of the training images."""
        from ssl_seg.data.label_alignment import align
        from ssl_seg.data.label_checks import check_labels, warn_of_twins, warn_of_unmeasured
        from ssl_seg.workflows.overlap import refuse_overlap

        given = self.given
        self.train_data = train = self.dataset("train", split="train", labelled=True)
        stores = {"train": self.store(train)}
        check_labels(stores["train"], train, given["train"])
        if given["val"]:
            self.val = self.dataset("val", parts=("val",), split="val", labelled=True)
            stores["val"] = self.store(self.val)
            align(stores["val"], self.val, stores["train"].classes, given["val"])
            warn_of_unmeasured(stores["val"], given["val"])
            warn_of_twins(stores["val"], self.val, given["val"])
            known, asked = (train, stores["train"]), (self.val, stores["val"])
            refuse_overlap(known, asked, allowed=given["allow_overlap"])
        return stores

    def train_views(self, module: "Supervised", store: "Store") -> list["View"]:
        """By `--augment`; features that stand for images are of their centre, but for `--passes`."""
        from ssl_seg.augment.recipes import TRAIN_VIEWS

        view = TRAIN_VIEWS.get(self.given["augment"])
        return [view] if view and (self.given["passes"] or not self.cached(module)) else []

    def snapshots(self, model: "Model", images: "Store") -> Callable[[int], None]:
        """Features of training images, for t-SNE."""
        from ssl_seg.workflows.feature_snapshots import FeatureSnapshotWriter

        return FeatureSnapshotWriter(
            model,
            self.train_data,
            images,
            self.given["keep_features"],
            epochs={1, self.given["epochs"]},
            trained=not self.given["freeze"],
            device=self.device,
            normalization=self.how,
            image_size=self.size,
            should_stop=lambda: self.stop.signal > 0,
            run_dir=self.run,
        ).on_epoch_end

    def new_module(self, model: "Model", store: "Store") -> "Supervised":
        """Cross entropy on the model's logits."""
        from ssl_seg.tasks.classification import Supervised

        given = self.given
        return Supervised(model, frozen=given["freeze"], label_smoothing=given["label_smoothing"])

    def cached(self, module: "Supervised") -> bool:
        """Whether features stand for the images: those of a frozen backbone do not change."""
        return module.frozen and module.model.head.pools

    def build_validator(
        self, module: "Supervised", images: "Store", metric: Any, **common: Any
    ) -> "ClassificationValidator":
        """Top-1 and its kin."""
        from ssl_seg.workflows.classification_validator import ClassificationValidator

        own: dict[str, Any] = {"image_size": self.size, "cached": self.cached(module)}
        return ClassificationValidator(module.model, self.val, images, metric, **own, **common)

    def new_feed(self, module: "Supervised", store: "Store", order: "Order") -> Any:
        """Images, or the features that stand for them, with their targets."""
        if self.cached(module):
            return self.features_feed(module, store, order)
        return self.images_feed(module, store)

    def images_feed(self, module: "Supervised", store: "Store") -> Any:
        """Images as the network sees them, with their targets, by the step."""
        from ssl_seg.augment.views import evaluation_view
        from ssl_seg.data.loader import Batch, Batches
        from ssl_seg.tasks.classification import mixup

        given, device = self.given, self.device
        size, seed = given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        drawn = self.train_views(module, store)

        def look(batch: Batch) -> "Tensor":
            if not drawn:
                return evaluation_view(batch.images, batch.sizes, size=self.size, **self.how)
            return self.views(drawn, batch, **self.how)[0]

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
        from ssl_seg.tasks.classification import pooled_features

        given, drawn = self.given, self.train_views(module, store)
        passes = given["passes"] if drawn else 0
        self.console.say(f"features of {len(store)} images, computed {max(1, passes)}x")
        rounds = pooled_features(
            module.model.backbone,
            store,
            self.device,
            size=self.size,
            views=drawn,
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
