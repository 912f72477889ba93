"""Runs of objects: methods, models and datasets that were made in Python, in place of their names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import SslSegError, UsageError
from ssl_seg.utils.home import expanded
from ssl_seg.utils.progress import show_progress, showing
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig, SegmentationConfig
from ssl_seg.workflows.object_checks import check_classes_of, check_labels_of
from ssl_seg.workflows.object_names import (
    dataset_name,
    registered_name,
    stated_normalization,
    with_backbone,
    with_datasets,
    with_settings,
)
from ssl_seg.workflows.pixels import check_channels, normalization_of
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.session import open_session
from ssl_seg.workflows.task import C, M, Setup, Task

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model, SSLMethod
    from ssl_seg.tasks.classification import ClassificationTask
    from ssl_seg.tasks.segmentation import SegmentationTask


def pretrain(
    method: "SSLMethod",
    dataset: "Dataset",
    *,
    out: str | Path,
    probe: "Dataset | None" = None,
    config: PretrainConfig | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> RunResult:
    """Pre-train the backbone of a method on unlabeled images: `ssl_seg.train` for objects.

        method = BYOL(TimmBackbone("resnet50"))
        run = ssl_seg.pretrain(method, Arrays(images), out="runs/first", epochs=100)

    Args:
        method: trained in place.
        dataset: the images.
        out: run folder.
        probe: labeled images for a k-NN score during training.
        config: settings; default: those of `train`.
        mean, std: normalization, for images in [0, 1]; default: ImageNet, or measured if there are not 3 channels.
        resume: resume the run in `out`, with a method built in the same way.
        progress: show progress.
        settings: override those of `config`: `epochs=100, batch_size=256`.

    Raises:
        UsageError: an unknown setting, or one that the objects determine. SslSegError: the run failed.
    """
    from ssl_seg.base import SSLMethod
    from ssl_seg.plugins import load_plugins
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.pretrain import run_pretraining

    if not isinstance(method, SSLMethod):
        raise UsageError(f"a method is needed, got a {type(method).__name__}", next="BYOL(backbone)")
    folder, normalization = expanded(out), stated_normalization(mean, std)
    config = with_settings(config or PretrainConfig(), settings)
    config = replace(
        with_backbone(config, method.backbone),
        ssl=registered_name(load_plugins().registry, "ssl", method),
        data=dataset_name(dataset),
        probe=None if probe is None else dataset_name(probe),
    )
    with _from_python("pretrain", folder, progress=progress):
        if probe is not None:
            check_labels_of(probe, {"labelled": True})
        with open_session("train", folder, config, resume=resume) as session:
            resolved = config.resolved(method.recipe, f"ssl method {config.ssl}", session.started)
            components = Components(session.plugins.registry, session.device.from_main)
            run_pretraining(session, resolved, method, dataset, probe, components, normalization)
    return RunResult(folder, trained=method.backbone)


def finetune(
    model: "Model | ClassificationTask | SegmentationTask",
    train: "Dataset",
    val: "Dataset | float | None" = None,
    *,
    extra: "Dataset | None" = None,
    out: str | Path,
    config: ClassificationConfig | SegmentationConfig | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> RunResult:
    """Fine-tune and validate a model: `ssl_seg.classify` and `ssl_seg.segment` for objects.

        model = Model(run.backbone, Linear(run.backbone.channels, run.backbone.strides, 10))
        fine = ssl_seg.finetune(model, Arrays(images, labels), out="runs/fine", freeze=True)

    Args:
        model: trained in place; or a task with a model and its own loss. Masks as labels select segmentation,
            class indices classification.
        train, val: images with labels of the same type; `val` may be the share of the training images held out: 0.2.
        extra: more training images, each of the weight `extra_weight` in the loss.
        out: run folder.
        config: settings; default: those of `classify` or `segment`.
        mean, std: normalization, for images in [0, 1]; default: ImageNet, or measured if there are not 3 channels.
        resume: resume the run in `out`, with a model built in the same way.
        progress: show progress.
        settings: override those of `config`: `epochs=30, freeze=True`.

    Raises:
        UsageError: an unknown setting, one that the objects determine, or a model with other classes than the data.
        DataError: no labels. SslSegError: the run failed.
    """
    from ssl_seg.base import Model
    from ssl_seg.tasks.classification import ClassificationTask
    from ssl_seg.tasks.segmentation import SegmentationTask
    from ssl_seg.workflows.classify import CLASSIFICATION
    from ssl_seg.workflows.segment import SEGMENTATION

    normalization = stated_normalization(mean, std)
    roles = {"train": train, "val": val, "extra": extra}
    rest: tuple[Any, ...] = roles, normalization, expanded(out), resume, progress
    own = model if isinstance(model, ClassificationTask | SegmentationTask) else None
    network: object = model if own is None else own.model
    if not isinstance(network, Model):
        raise UsageError(f"a model is needed, got a {type(model).__name__}", next="Model(backbone, head)")
    if isinstance(model, SegmentationTask) or (own is None and train.masks):
        segmentation = _config_of(SegmentationConfig, config, settings, own)
        return _finetune(SEGMENTATION, segmentation, network, own, *rest)
    classification = _config_of(ClassificationConfig, config, settings, own)
    classification = replace(classification, image_size=classification.size)
    return _finetune(CLASSIFICATION, classification, network, own, *rest)


def _config_of(
    kind: type[C],
    config: object,
    settings: dict[str, Any],
    own: "ClassificationTask | SegmentationTask | None",
) -> C:
    """Settings of a kind; those of a task's own module hold."""
    if config is not None and not isinstance(config, kind):
        raise UsageError(f"config must be a {kind.__name__}, got a {type(config).__name__}")
    checked = with_settings(config if isinstance(config, kind) else kind(), settings)
    if own is None:
        return checked
    decided: dict[str, Any] = {"freeze": own.freeze_backbone}
    if hasattr(own, "label_smoothing"):
        decided["label_smoothing"] = own.label_smoothing
    decided["ema"] = own.average.decay if own.average is not None else None
    return replace(checked, **decided)


def _finetune(
    task: Task[C, M],
    config: C,
    model: "Model",
    module: Any,
    datasets: Mapping[str, Any],
    stated: Mapping[str, Any] | None,
    folder: Path,
    resume: bool,
    progress: bool,
) -> RunResult:
    from ssl_seg.plugins import load_plugins
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.extra_images import check_extra_weight, load_with_extra_images
    from ssl_seg.workflows.finetune import run_finetuning

    def open_dataset(role: str, **needs: Any) -> Any:
        check_labels_of(datasets[role], needs)
        return datasets[role]

    config = replace(
        with_datasets(with_backbone(config, model.backbone), datasets),
        head=registered_name(load_plugins().registry, "heads", model.head),
    )
    check_extra_weight(config)
    metrics = [("metrics", name) for name in split_names(config.metric)]
    with (
        _from_python("finetune", folder, progress=progress),
        open_session(task.command, folder, config, resume=resume, components=metrics) as session,
    ):
        components = Components(session.plugins.registry, session.device.from_main)
        data, config = load_with_extra_images(task, session, config, open_dataset)
        check_channels(data.images.channels, model, "the images")
        normalization = normalization_of(data.images, stated)
        check_classes_of(model, session.device, config.size, data)
        module = task.build_module(model, config, data) if module is None else module
        recipe = task.recipe_for(model.backbone, freeze=config.freeze)
        config = config.resolved(recipe, f"ssl-seg {task.command}")
        run_finetuning(task, Setup(session, config, data, module, normalization), components)
    model.load_state_dict(module.evaluated.state_dict())  # of an average, which itself cannot be trained on
    return RunResult(folder, trained=model)


@contextmanager
def _from_python(function: str, folder: Path, *, progress: bool) -> Iterator[None]:
    """Nothing is printed but progress; an error says how to resume from Python."""
    with showing(lines=False):
        show_progress(progress)
        try:
            yield
        except SslSegError as error:
            if error.next and error.next.startswith("ssl-seg ") and "--resume" in error.next:
                error.next = f"ssl_seg.{function}(..., out={str(folder)!r}, resume=True)"
            raise
