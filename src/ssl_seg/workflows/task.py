"""What differs between training a classifier and a segmentation model: a dataclass of functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ssl_seg.results.planned_epochs import total_steps
from ssl_seg.workflows.config import ClassificationConfig, SegmentationConfig

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.augment.recipes import View
    from ssl_seg.base import Backbone, Dataset, Model
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import ShuffleSampler
    from ssl_seg.data.mask_counts import MaskStatistics
    from ssl_seg.tasks.supervised import SupervisedTask
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.init_weights import InitWeights
    from ssl_seg.workflows.session import Session
    from ssl_seg.workflows.validator import Validator

C = TypeVar("C", ClassificationConfig, SegmentationConfig)
M = TypeVar("M", bound="SupervisedTask")


class OpenDataset(Protocol):
    """Opens the images of a role: `train` or `val`."""

    def __call__(self, role: str, **needs: Any) -> "Dataset":
        """`needs`: `split`, `parts`, `labelled`, `masks` and `palette`."""


@dataclass(frozen=True)
class FinetuneData:
    """Labelled images.

    Attributes:
        train, images: training images.
        val, val_images: validation images, if there are some.
        excluded: indices of the classes that are neither trained on nor predicted.
        metadata: what a model file says of the data.
        counts: of the pixels of each class in the training masks.
        weights: (N,) float32 factors of the losses of the training images, 1 on average; None: all are 1.
    """

    train: "Dataset"
    images: "ImageCache"
    val: "Dataset | None" = None
    val_images: "ImageCache | None" = None
    excluded: list[int] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    counts: "MaskStatistics | None" = None
    weights: "Tensor | None" = None

    def weights_at(self, samples: "Tensor") -> "list[Tensor]":
        """The (B,) weights of some training images; an empty list if all are 1."""
        return [] if self.weights is None else [self.weights[samples]]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.images.classes

    @property
    def caches(self) -> dict[str, "ImageCache"]:
        """The images by what they are for, as in `run.toml`."""
        return {"train": self.images} | ({"val": self.val_images} if self.val_images else {})


@dataclass(frozen=True)
class Setup(Generic[C, M]):
    """All that a model is trained with.

    Attributes:
        module: what `fit` trains; it holds the model.
        normalization: `mean` and `std`; they come with the initial weights.
    """

    session: "Session"
    config: C
    data: FinetuneData
    module: M
    normalization: Mapping[str, Any]

    @cached_property
    def sampler(self) -> "ShuffleSampler":
        """The order of the training images."""
        from ssl_seg.data.loader import ShuffleSampler

        device, config = self.session.device, self.config
        rank = {"rank": device.rank, "world_size": device.world_size}
        return ShuffleSampler(len(self.data.images), config.batch_size, config.seed, **rank)

    @property
    def epochs(self) -> int:
        """How many there will be."""
        steps_per_epoch = self.sampler.steps_per_epoch
        return -(-total_steps(self.config.epochs, self.config.max_steps, steps_per_epoch) // steps_per_epoch)


@dataclass(frozen=True)
class Task(Generic[C, M]):
    """Functions that make the parts of a supervised run.

    Attributes:
        command: `classify` or `segment`.
        metric: its name in the registry.
        recipe: optimizer, learning rate, weight decay and warm-up where the user gives none; see
            `ssl_seg.engine.recipe.resolve`.
        batchnorm_recipe: what differs when a backbone with BatchNorm is trained.
        frozen_recipe: what differs when the head is trained alone.
        pixels: whether logits are (B, classes, H, W) and not (B, classes).
        load_data: opens and checks the images; what it finds out may change open settings.
        build_backbone: from names; untrained, with the settings that it has.
        build_module: what `fit` trains.
        metric_options: of its own metric.
        train_views: how training images are drawn; none: their centre, as for validation.
        build_batches: the inputs of each step.
        build_validator: what measures the model; from the metric and the keywords of its class.
        init_head: gives the head what the initial weights hold for it.
        is_due: whether the model is measured after an epoch.
        snapshots: is called after each epoch, and leaves in the run's folder what figures need of it.
    """

    command: str
    metric: str
    recipe: Mapping[str, Any]
    batchnorm_recipe: Mapping[str, Any]
    frozen_recipe: Mapping[str, Any]
    pixels: bool
    load_data: "Callable[[Session, C, OpenDataset], tuple[FinetuneData, C]]"
    build_backbone: "Callable[[Session, C, Components], tuple[Backbone, C]]"
    build_module: "Callable[[Model, C, FinetuneData], M]"
    metric_options: "Callable[[C, FinetuneData], Mapping[str, str]]"
    train_views: "Callable[[Setup[C, M]], list[View]]"
    build_batches: "Callable[[Setup[C, M]], Callable[[int], list[list[Tensor]]]]"
    build_validator: "Callable[..., Validator]"
    init_head: "Callable[[Session, Model, InitWeights], None]" = lambda session, model, init: None
    is_due: "Callable[[Setup[C, M], int], bool]" = lambda setup, epoch: True
    snapshots: "Callable[[Setup[C, M]], Callable[[int], None]]" = lambda setup: lambda epoch: None

    def recipe_for(self, backbone: "Backbone | None", *, freeze: bool) -> dict[str, Any]:
        """What suits a model; without a backbone, what suits all."""
        from ssl_seg.engine.recipe import merged
        from ssl_seg.nn.batch_norm import has_batch_norm

        if freeze:
            return merged(self.recipe, self.frozen_recipe)
        norm = backbone is not None and has_batch_norm(backbone)
        return merged(self.recipe, self.batchnorm_recipe if norm else {})
