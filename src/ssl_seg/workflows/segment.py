"""Training a segmentation model on images with masks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ssl_seg.errors import UsageError
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.finetune import Finetuning

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.augment.views import View
    from ssl_seg.base import Backbone, Dataset, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.data.loader import Order
    from ssl_seg.data.mask_counts import MaskCount
    from ssl_seg.data.mask_files import MaskReader
    from ssl_seg.tasks.segmentation import Segmenter
    from ssl_seg.workflows.init_weights import Start
    from ssl_seg.workflows.segmentation_validator import SegmentationValidator


class Segmentation(Finetuning):
    """A model that tells the class of every pixel."""

    command = "segment"
    metric = "mean_iou"
    # what suits some hundred images, from scratch or not
    recipe: ClassVar = {
        "optimizer": "adamw",
        "lr": 3e-4,
        "weight_decay": 0.01,
        "warmup": 0.05,
        "adam": {"lr": 3e-4, "weight_decay": 1e-4},  # in Adam, decay is part of the gradient
        "sgd": {"lr": 0.016, "weight_decay": 5e-4},
    }
    norm_recipe: ClassVar = {"sgd": {"lr": 0.16}}  # 0.01 for a batch of 16, as DeepLab and FCN are trained
    val: "Dataset"
    counts: "MaskCount"

    def stores(self) -> dict[str, "Store"]:
        """Training and validation images with their masks."""
        from ssl_seg.workflows.mask_metadata import about_masks, check_classes, tell_masks
        from ssl_seg.workflows.overlap import refuse_overlap

        given = self.given
        # a resumed run does not find out again how masks are read
        known = self.run.settings()["record"]["train"].get("palette", "") if self.run.resume else ""
        train = self.dataset("train", split="train", masks=True, palette=known)
        tell_masks(train, given["train"], self.console.say)
        stores = {"train": self.store(train)}
        self.about_data = about = about_masks(train)
        stores["train"].notes = {"masks": getattr(train, "how", ""), "palette": about["palette"]}
        if given["exclude"] is None:
            given["exclude"] = ",".join(self.about_data["exclude"])
        self.about_data["exclude"] = names_in(given["exclude"])
        if given["val"]:
            how = {"parts": ("data", "val"), "palette": about["palette"]}
            self.val = self.dataset("val", split="val", masks=True, **how)
            tell_masks(self.val, given["val"], self.console.say)
            stores["val"] = self.store(self.val)
            check_classes(self.val, stores["val"].classes, stores["train"].classes, given["val"])
            stores["val"].classes = stores["train"].classes
            both = (train, stores["train"]), (self.val, stores["val"])
            refuse_overlap(*both, allowed=given["allow_overlap"])
        self.excluded = self._excluded(stores["train"])
        self._count_masks(stores, getattr(train, "reader", None))
        return stores

    @property
    def canvas(self) -> int:
        """Masks are of whole images: none is reduced unless it is asked for."""
        from ssl_seg.data.canvases import WHOLE

        canvas: int = self.given["canvas"] or WHOLE
        return canvas

    def _count_masks(self, stores: Mapping[str, "Store"], reader: "MaskReader | None") -> None:
        """Say what there is to learn from and to measure on.

        Raises:
            DataError: not enough.
        """
        from ssl_seg.base import IGNORE
        from ssl_seg.data.mask_counts import check_learnable, check_measurable, count_masks
        from ssl_seg.utils.log import log

        given, exclude = self.given, self.about_data["exclude"]
        self.counts = found = count_masks(stores["train"], exclude)
        warnings = check_learnable(found, given["train"], guesses_void=bool(reader and reader.guesses_void))
        self.console.say(f"classes by pixels: {found.histogram(most=IGNORE)}")
        if found.empty:
            self.console.say(f"{found.empty} of {found.masks} masks have no pixel to learn from")
        if "val" in stores:
            warnings += check_measurable(count_masks(stores["val"], exclude), given["val"], found)
        for warning in warnings:
            log.warning(warning)

    def _excluded(self, store: "Store") -> list[int]:
        from ssl_seg.errors import did_you_mean

        names = self.about_data["exclude"]
        for name in names:
            if name not in store.classes:
                raise UsageError(f"no class {name!r} to exclude{did_you_mean(name, store.classes)}")
        return [store.classes.index(name) for name in names]

    def new_backbone(self) -> "Backbone":
        """Untrained; with the output stride that suits the head, if it can have one."""
        from ssl_seg.workflows.strides import suited

        head = self.plugins.registry.factory("heads", self.given["head"])
        name = self.given["backbone"]
        return suited(head, self.options, super().new_backbone, lambda why: self.console.say(f"{name} {why}"))

    def start_head(self, model: "Model", start: "Start") -> None:
        """FCN's two wide layers start from VGG's classifier, if the weights have it."""
        load = getattr(model.head, "load_classifier", None)
        if start.path is None or load is None:
            return
        from ssl_seg.weights.readers import find_file, read_file

        tensors, _ = read_file(find_file(start.path))
        self.console.say(
            f"head: {'starts from the classifier in the file' if load(tensors) else 'untrained'}"
        )

    def new_module(self, model: "Model", store: "Store") -> "Segmenter":
        """The loss of the model's logits on masks."""
        import torch

        from ssl_seg.tasks.segmentation import Segmenter, class_weights

        given, counts = self.given, torch.from_numpy(self.counts.pixels[: len(store.classes)])
        weights = class_weights(counts, self.excluded) if given["class_weights"] else None
        return Segmenter(model, loss=given["loss"], weights=weights, frozen=given["freeze"])

    @property
    def metric_options(self) -> dict[str, str]:
        """Excluded classes are not in the mean."""
        return {"exclude": self.given["exclude"], **super().metric_options}

    def train_views(self, module: "Segmenter", store: "Store") -> list["View"]:
        """By `--augment`, on the scale of the images."""
        from ssl_seg.augment.recipes import mask_view

        return [mask_view(self.given["augment"], self.size, store.sizes)]

    def build_validator(
        self, module: "Segmenter", images: "Store", metric: Any, **common: Any
    ) -> "SegmentationValidator":
        """Mean IoU on whole images."""
        from ssl_seg.workflows.mask_snapshots import MaskSnapshotWriter
        from ssl_seg.workflows.segmentation_validator import SegmentationValidator

        if self.further and self.device.ranks > 1:
            raise UsageError(
                "--metric for pixels is measured in one process", next=f"ssl-seg predict {self.run.folder}"
            )
        given, names = self.given, self.given["watch"]
        snapshots = MaskSnapshotWriter(
            self.run, self.val, images, self.about_data, names, self.watched_epochs, where=given["val"]
        )
        own: dict[str, Any] = {"snapshots": snapshots, "excluded": self.about_data["exclude"]}
        validator = SegmentationValidator(module.model, self.val, images, metric, **own, **common)
        if self.device.is_main and not self.run.resume:
            snapshots.write_metadata()
        return validator

    @property
    def watched_epochs(self) -> set[int]:
        """After which masks are kept."""
        from ssl_seg.results.mask_snapshots import epochs_to_watch

        return set(epochs_to_watch(self.given["watch_epochs"], self.given["epochs"]))

    def validates_after(self, epoch: int) -> bool:
        """By `--val-every`, at the end, and when masks are kept."""
        given = self.given
        return epoch % given["val_every"] == 0 or epoch == given["epochs"] or epoch in self.watched_epochs

    def new_feed(self, module: "Segmenter", store: "Store", order: "Order") -> Any:
        """Crops of images and of their masks, by the step."""
        import torch

        from ssl_seg.augment.views import augment_pairs, normalised
        from ssl_seg.data.loader import Batch, Batches
        from ssl_seg.figures.masks import paint

        given, device = self.given, self.device
        size, seed = given["batch_size"], given["seed"]
        batches = Batches(store, size, seed, device.device, rank=device.rank, ranks=device.ranks)
        (view,) = self.train_views(module, store)

        def look(batch: Batch) -> tuple["Tensor", "Tensor"]:
            assert batch.masks is not None
            fixed = {"seed": seed, "epoch": batch.epoch, "size": self.size}
            return augment_pairs(
                batch.images, batch.masks, batch.sizes, batch.samples, view, **fixed, **self.how
            )

        first = batches.at(0)
        images, masks = look(first)
        painted = torch.from_numpy(paint(masks.byte().cpu().numpy(), self.colours)).permute(0, 3, 1, 2)
        views, names = [images, normalised(painted, **self.how)], ("image", "view", "mask")
        self.draw_views(first.images, views, names=names, **self.how)
        return lambda step: self.parts(look(batches.at(step)))

    @property
    def colours(self) -> Any:
        """(C, 3) uint8 of the classes."""
        import numpy as np

        return np.array(self.about_data["colours"], dtype=np.uint8)
