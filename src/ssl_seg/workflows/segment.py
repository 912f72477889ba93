"""Training a segmentation model on images with masks."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.task import FinetuneData, OpenDataset, Setup, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.augment.recipes import View
    from ssl_seg.base import Backbone, Model
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Batch
    from ssl_seg.data.mask_counts import MaskStatistics
    from ssl_seg.data.mask_files import MaskReader
    from ssl_seg.metrics.mean_iou import MeanIoU
    from ssl_seg.tasks.segmentation import SegmentationTask
    from ssl_seg.workflows.batches import BatchFn
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.config import SegmentationConfig
    from ssl_seg.workflows.init_weights import InitWeights
    from ssl_seg.workflows.segmentation_validator import SegmentationValidator
    from ssl_seg.workflows.session import Session

    SegmentationSetup = Setup[SegmentationConfig, SegmentationTask]


def load_data(
    session: "Session", config: "SegmentationConfig", open_dataset: OpenDataset
) -> "tuple[FinetuneData, SegmentationConfig]":
    """Training and validation images with their masks; settles which classes are excluded."""
    from ssl_seg.data.mask_counts import pixels_of_masks
    from ssl_seg.workflows.held_out import training_and_validation
    from ssl_seg.workflows.mask_metadata import check_classes, metadata_of_masks, print_classes
    from ssl_seg.workflows.overlap import check_overlap

    run_dir, print_line = session.run_dir, session.progress.print_line
    # a resumed run does not find out again how masks are read
    palette = run_dir.settings()["record"]["train"].get("palette", "") if run_dir.resume else ""
    train = open_dataset("train", masks=True, palette=palette)
    print_classes(train, config.train, print_line)
    images = session.image_cache(train, config)
    metadata = metadata_of_masks(train)
    if config.exclude is None:
        config = replace(config, exclude=",".join(metadata["exclude"]))
    excluded = metadata["exclude"] = split_names(config.exclude or "")
    excluded_indices = _class_indices(excluded, images.classes)
    count = partial(pixels_of_masks, exclude=excluded)
    (train, images), cut = training_and_validation(session, config, train, images, count)
    images.notes = {"masks": getattr(train, "how", ""), "palette": metadata["palette"]}
    val, val_images = cut or (None, None)
    if config.val and not cut:
        val = open_dataset("val", masks=True, parts=("data", "val"), palette=metadata["palette"])
        print_classes(val, config.val, print_line)
        val_images = session.image_cache(val, config)
        check_classes(val, val_images.classes, images.classes, config.val)
        val_images.classes = images.classes
        check_overlap((train, images), (val, val_images), allowed=config.allow_overlap)
    counts = _count_pixels(session, config, images, val_images, excluded, getattr(train, "reader", None))
    return FinetuneData(train, images, val, val_images, excluded_indices, metadata, counts), config


def _class_indices(names: list[str], classes: list[str]) -> list[int]:
    for name in names:
        if name not in classes:
            raise UsageError(f"no class {name!r} to exclude{did_you_mean(name, classes)}")
    return [classes.index(name) for name in names]


def _count_pixels(
    session: "Session",
    config: "SegmentationConfig",
    images: "ImageCache",
    val_images: "ImageCache | None",
    excluded: list[str],
    reader: "MaskReader | None",
) -> "MaskStatistics":
    """Say what there is to learn from and to measure on.

    Raises:
        DataError: not enough.
    """
    from ssl_seg.base import IGNORE_INDEX
    from ssl_seg.data.mask_counts import check_learnable, check_measurable, count_masks
    from ssl_seg.utils.log import log

    counts = count_masks(images, excluded)
    warnings = check_learnable(counts, config.train, guesses_void=bool(reader and reader.guesses_void))
    session.progress.print_line(f"classes by pixels: {counts.histogram(most=IGNORE_INDEX)}")
    if counts.empty:
        session.progress.print_line(f"{counts.empty} of {counts.masks} masks have no pixel to learn from")
    if val_images is not None:
        warnings += check_measurable(count_masks(val_images, excluded), config.val or "", counts)
    for warning in warnings:
        log.warning(warning)
    return counts


def build_backbone(
    session: "Session", config: "SegmentationConfig", components: "Components"
) -> "tuple[Backbone, SegmentationConfig]":
    """Untrained; with the output stride that suits the head, if it can have one."""
    from ssl_seg.workflows.strides import backbone_with_output_stride

    def build(options: Mapping[str, str]) -> "tuple[Backbone, SegmentationConfig]":
        own = config.with_options("backbone", options)
        return components.backbone(own, early=session.run_dir.is_early)

    def print_line(reason: str) -> None:
        session.progress.print_line(f"{config.backbone} {reason}")

    head = components.registry.factory("heads", config.head)
    return backbone_with_output_stride(head, config.o.get("backbone", {}), build, print_line)


def init_head(session: "Session", model: "Model", init: "InitWeights") -> None:
    """FCN's two wide layers start from VGG's classifier, if the weights have it."""
    load = getattr(model.head, "load_classifier", None)
    if init.path is None or load is None:
        return
    from ssl_seg.weights.published import tensors_of

    start = "starts from the classifier in the file" if load(tensors_of(init.path)) else "untrained"
    session.progress.print_line(f"head: {start}")


def build_module(model: "Model", config: "SegmentationConfig", data: FinetuneData) -> "SegmentationTask":
    """The loss of the model's logits on masks."""
    import torch

    from ssl_seg.tasks.segmentation import SegmentationTask
    from ssl_seg.tasks.segmentation_losses import class_weights

    assert data.counts is not None
    pixels = torch.from_numpy(data.counts.pixels[: len(data.classes)])
    weights = class_weights(pixels, data.excluded) if config.class_weights else None
    own: dict[str, Any] = {"loss": config.loss, "weights": weights, "ema": config.ema}
    return SegmentationTask(model, freeze_backbone=config.freeze, **own)


def metric_options(config: "SegmentationConfig", data: FinetuneData) -> Mapping[str, str]:
    """Excluded classes are not in the mean."""
    return {"exclude": config.exclude or "", **config.o.get("metric", {})}


def train_views(setup: "SegmentationSetup") -> "list[View]":
    """By `--augment`, on the scale of the images."""
    from ssl_seg.augment.recipes import segmentation_view

    return [segmentation_view(setup.config.augment, setup.config.size, setup.data.images.sizes)]


def build_batches(setup: "SegmentationSetup") -> "BatchFn":
    """Crops of images and of their masks."""
    import numpy as np
    import torch

    from ssl_seg.figures.masks import colorize_mask
    from ssl_seg.workflows.batches import augmentation_of, draws_of, micro_batches, open_loader

    config, normalization = setup.config, setup.normalization
    augmentation = augmentation_of(train_views(setup), config, **normalization)

    def draw(sizes: "Tensor", samples: "Tensor", epoch: int) -> "list[Tensor]":
        return [*augmentation.draw(sizes, samples, epoch), *setup.data.weights_at(samples)]

    loader = open_loader(setup.data.images, config, setup.session.device, draw)

    def inputs_of(batch: "Batch") -> "list[Tensor]":
        assert batch.masks is not None
        draws, weights = draws_of(batch)
        return [*augmentation.make(batch.images, draws), augmentation.masks(batch.masks, draws), *weights]

    crops, masks, *_ = inputs_of(first := loader.batch_at(0))
    colors = np.array(setup.data.metadata["colours"], dtype=np.uint8)
    colored = torch.from_numpy(colorize_mask(masks.byte().cpu().numpy(), colors)).permute(0, 3, 1, 2)
    sheet = {"painted": colored, "names": ("image", "view", "mask"), **normalization}
    setup.session.save_view_sheet(first.images, [crops], **sheet)
    return lambda step: micro_batches(inputs_of(loader.batch_at(step)), config.accumulate)


def build_validator(setup: "SegmentationSetup", metric: "MeanIoU", **common: Any) -> "SegmentationValidator":
    """Mean IoU on whole images; `common`: see the class."""
    from ssl_seg.workflows.mask_snapshots import MaskSnapshotWriter
    from ssl_seg.workflows.segmentation_validator import SegmentationValidator

    session, config, data = setup.session, setup.config, setup.data
    assert data.val is not None and data.val_images is not None
    if config.metric and session.device.world_size > 1:
        after = f"ssl-seg predict {session.run_dir.folder}"
        raise UsageError("--metric for pixels is measured in one process", next=after)
    snapshots = MaskSnapshotWriter(
        session.run_dir,
        data.val,
        data.val_images,
        data.metadata,
        config.watch,
        _snapshot_epochs(setup),
        where=config.val or "",
        is_last=lambda: session.stopping.is_last,
    )
    common |= {"snapshots": snapshots, "excluded": data.metadata["exclude"]}
    validator = SegmentationValidator(setup.module.evaluated, data.val, data.val_images, metric, **common)
    if session.device.is_main and not session.run_dir.resume:
        snapshots.write_metadata()
    return validator


def _snapshot_epochs(setup: "SegmentationSetup") -> set[int]:
    from ssl_seg.results.mask_snapshots import snapshot_epochs

    return snapshot_epochs(setup.config.watch_epochs, setup.epochs)


def is_due(setup: "SegmentationSetup", epoch: int) -> bool:
    """By `--val-every`, and when masks are kept."""
    return epoch % setup.config.val_every == 0 or epoch in _snapshot_epochs(setup)


SEGMENTATION: "Task[SegmentationConfig, SegmentationTask]" = Task(
    command="segment",
    metric="mean_iou",
    # what suits some hundred images, from scratch or not
    recipe={
        "optimizer": "adamw",
        "lr": 3e-4,
        "weight_decay": 0.01,
        "warmup": 0.05,
        "adam": {"lr": 3e-4, "weight_decay": 1e-4},  # in Adam, decay is part of the gradient
        "sgd": {"lr": 0.016, "weight_decay": 5e-4},
    },
    batchnorm_recipe={"sgd": {"lr": 0.16}},  # 0.01 for a batch of 16, as DeepLab and FCN are trained
    frozen_recipe={},
    pixels=True,
    load_data=load_data,
    build_backbone=build_backbone,
    init_head=init_head,
    build_module=build_module,
    metric_options=metric_options,
    train_views=train_views,
    build_batches=build_batches,
    build_validator=build_validator,
    is_due=is_due,
)
