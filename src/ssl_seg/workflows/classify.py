"""Training a classifier on labelled images."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ssl_seg.workflows.task import FinetuneData, OpenDataset, Setup, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.augment.recipes import View
    from ssl_seg.base import Backbone, Model
    from ssl_seg.data.loader import Batch
    from ssl_seg.metrics.accuracy import Accuracy
    from ssl_seg.tasks.classification import ClassificationTask
    from ssl_seg.workflows.batches import BatchFn
    from ssl_seg.workflows.classification_validator import ClassificationValidator
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.config import ClassificationConfig
    from ssl_seg.workflows.session import Session

    ClassificationSetup = Setup[ClassificationConfig, ClassificationTask]


def load_data(
    session: "Session", config: "ClassificationConfig", open_dataset: OpenDataset
) -> "tuple[FinetuneData, ClassificationConfig]":
    """Training and validation images; class indices are those of the training images."""
    from ssl_seg.data.label_alignment import align_labels
    from ssl_seg.data.label_checks import check_labels, warn_of_twins, warn_of_unmeasured
    from ssl_seg.data.subset import one_hot
    from ssl_seg.workflows.held_out import training_and_validation
    from ssl_seg.workflows.overlap import check_overlap

    train = open_dataset("train", labelled=True)
    images = session.image_cache(train, config)
    check_labels(images, train, config.train)
    (train, images), cut = training_and_validation(
        session, config, train, images, lambda cache: one_hot(cache.targets, len(cache.classes))
    )
    if cut is not None:
        warn_of_unmeasured(cut[1], f"the validation share of {config.train}")
    if not config.val or cut is not None:
        return FinetuneData(train, images, *(cut or ())), config
    val = open_dataset("val", parts=("val",), labelled=True)
    val_images = session.image_cache(val, config)
    align_labels(val_images, val, images.classes, config.val)
    warn_of_unmeasured(val_images, config.val)
    warn_of_twins(val_images, val, config.val)
    check_overlap((train, images), (val, val_images), allowed=config.allow_overlap)
    return FinetuneData(train, images, val, val_images), config


def build_backbone(
    session: "Session", config: "ClassificationConfig", components: "Components"
) -> "tuple[Backbone, ClassificationConfig]":
    """Untrained, as it is named."""
    return components.backbone(config, early=session.run_dir.is_early)


def build_module(model: "Model", config: "ClassificationConfig", data: FinetuneData) -> "ClassificationTask":
    """Cross entropy on the model's logits."""
    from ssl_seg.tasks.classification import ClassificationTask

    options: dict[str, Any] = {"label_smoothing": config.label_smoothing, "ema": config.ema}
    return ClassificationTask(model, freeze_backbone=config.freeze, **options)


def metric_options(config: "ClassificationConfig", data: FinetuneData) -> Mapping[str, str]:
    """Options of `accuracy`."""
    return config.o.get("metric", {})


def train_views(setup: "ClassificationSetup") -> "list[View]":
    """By `--augment`; features that stand for images are of their centre, but for `--passes`."""
    from ssl_seg.augment.recipes import TRAIN_VIEWS

    config = setup.config
    view = TRAIN_VIEWS.get(config.augment)
    return [view] if view and (config.passes or not uses_features(setup.module)) else []


def uses_features(module: "ClassificationTask") -> bool:
    """Whether features stand for the images: those of a frozen backbone do not change."""
    return module.freeze_backbone and module.model.head.pools


def build_batches(setup: "ClassificationSetup") -> "BatchFn":
    """Images, or the features that stand for them, with their targets."""
    return _feature_batches(setup) if uses_features(setup.module) else _image_batches(setup)


def _image_batches(setup: "ClassificationSetup") -> "BatchFn":
    """Images as the network sees them, with their targets."""
    from ssl_seg.augment.views import eval_view
    from ssl_seg.tasks.classification import mix_with_next, mixup_weights
    from ssl_seg.workflows.batches import augmentation_of, draws_of, micro_batches, open_loader

    config, images, normalization = setup.config, setup.data.images, setup.normalization
    augmentation = augmentation_of(train_views(setup), config, **normalization)

    def draw(sizes: "Tensor", samples: "Tensor", epoch: int) -> "list[Tensor]":
        views = augmentation.draw(sizes, samples, epoch) if augmentation.views else [sizes]
        seed = {"seed": config.seed, "epoch": epoch}
        shares = [mixup_weights(config.mixup, samples, **seed)] if config.mixup else []
        return [*views, *shares, *setup.data.weights_at(samples)]

    loader = open_loader(images, config, setup.session.device, draw)

    def inputs_of(batch: "Batch") -> "tuple[Tensor, list[Tensor]]":
        if not augmentation.views:
            sizes, *others = batch.draws
            return eval_view(batch.images, sizes, size=config.size, **normalization), others
        draws, others = draws_of(batch)
        return augmentation.make(batch.images, draws)[0], others

    def batch_at(step: int) -> "list[list[Tensor]]":
        batch = loader.batch_at(step)
        (inputs, weights), targets = inputs_of(batch), batch.targets
        if config.mixup:
            shares, *weights = weights
            inputs, targets = mix_with_next(inputs, targets, len(images.classes), shares)
        return micro_batches([inputs, targets, *weights], config.accumulate)

    first = loader.batch_at(0)
    setup.session.save_view_sheet(first.images, [inputs_of(first)[0]], **normalization)
    return batch_at


def _feature_batches(setup: "ClassificationSetup") -> "BatchFn":
    """Features in place of images: a frozen backbone computes them once."""
    from ssl_seg.tasks.classification import pooled_features
    from ssl_seg.workflows.batches import micro_batches

    config, images, sampler = setup.config, setup.data.images, setup.sampler
    views = train_views(setup)
    passes = config.passes if views else 0
    session = setup.session
    session.progress.print_line(f"features of {len(images)} images, computed {max(1, passes)}x")
    rounds = pooled_features(
        setup.module.model.backbone,
        images,
        session.device,
        size=config.size,
        views=views,
        num_views=passes,
        seed=config.seed,
        **setup.normalization,
    )
    targets = images.targets.to(rounds.device)

    def batch_at(step: int) -> "list[list[Tensor]]":
        indices = sampler.indices(step).to(rounds.device)
        features = rounds[sampler.epoch(step) % len(rounds)]
        weights = [each.to(features.device) for each in setup.data.weights_at(indices.cpu())]
        return micro_batches([features[indices], targets[indices], *weights], config.accumulate)

    return batch_at


def build_validator(
    setup: "ClassificationSetup", metric: "Accuracy", **common: Any
) -> "ClassificationValidator":
    """Top-1, top-5 and the mean over classes; `common`: see the class."""
    from ssl_seg.workflows.classification_validator import ClassificationValidator

    data = setup.data
    assert data.val is not None and data.val_images is not None
    own: dict[str, Any] = {"image_size": setup.config.size, "cached": uses_features(setup.module)}
    return ClassificationValidator(setup.module.evaluated, data.val, data.val_images, metric, **own, **common)


def snapshots(setup: "ClassificationSetup") -> Callable[[int], None]:
    """Features of training images, for t-SNE."""
    from ssl_seg.results.mask_snapshots import snapshot_epochs
    from ssl_seg.workflows.feature_snapshots import FeatureSnapshotWriter

    session, config, data = setup.session, setup.config, setup.data
    return FeatureSnapshotWriter(
        setup.module.evaluated,
        data.train,
        data.images,
        config.keep_features,
        epochs=snapshot_epochs("", setup.epochs),
        is_last=lambda: session.stopping.is_last,
        trained=not config.freeze,
        device=session.device,
        normalization=setup.normalization,
        image_size=config.size,
        should_stop=session.should_stop,
        run_dir=session.run_dir,
    ).on_epoch_end


CLASSIFICATION: "Task[ClassificationConfig, ClassificationTask]" = Task(
    command="classify",
    metric="accuracy",
    # what suits a labelled data set of some thousand images
    recipe={
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "warmup": 0.05,
        "adam": {"lr": 1e-3, "weight_decay": 1e-4},  # in Adam, decay is part of the gradient
        "sgd": {"lr": 0.01, "weight_decay": 1e-4},
    },
    # a trained network's weights are long, and where BatchNorm undoes their length, 1e-3 hardly turns them
    batchnorm_recipe={"lr": 3e-3, "adam": {"lr": 3e-3}, "sgd": {"lr": 0.1}},
    # at 1e-3 a linear head has not arrived after 30 epochs
    frozen_recipe={"lr": 1e-2, "adam": {"lr": 1e-2}, "sgd": {"lr": 0.1, "weight_decay": 0.0}},
    pixels=False,
    load_data=load_data,
    build_backbone=build_backbone,
    build_module=build_module,
    metric_options=metric_options,
    train_views=train_views,
    build_batches=build_batches,
    build_validator=build_validator,
    snapshots=snapshots,
)
