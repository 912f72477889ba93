"""Training a backbone with a head on labels, and measuring it: what `classify` and `segment` do alike."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import Stopped, pluralize
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.batch_size import with_batch_size
from ssl_seg.workflows.pixels import (
    check_same_channels,
    is_measured,
    normalization_of,
    print_left_out,
    with_in_chans,
    with_measured_range,
)
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.session import Session, open_session
from ssl_seg.workflows.task import C, FinetuneData, M, Setup, Task

if TYPE_CHECKING:
    from ssl_seg.base import Metric, Model
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.config import FinetuneConfig
    from ssl_seg.workflows.validator import ValidationLog


def component_names(config: "FinetuneConfig") -> list[tuple[str, str]]:
    """Kinds and names of the components that settings name."""
    names = [("heads", config.head), *(("metrics", name) for name in split_names(config.metric))]
    return names + ([("backbones", config.backbone)] if config.backbone else [])


def finetune_by_names(task: Task[C, M], config: C, folder: Path, *, resume: bool) -> RunResult:
    """Build what the settings name, train and measure it in a run's folder."""
    from ssl_seg.workflows.components import Components, with_canonical_names
    from ssl_seg.workflows.extra_images import check_extra_weight, load_with_extra_images
    from ssl_seg.workflows.init_weights import resolve_init_weights

    check_extra_weight(config)
    config = with_batch_size(config, partial(finetune_by_names, task), folder, resume=resume)
    names = component_names(config)
    with open_session(task.command, folder, config, resume=resume, components=names) as session:
        config = with_canonical_names(config, session.plugins.registry)
        components = Components(session.plugins.registry, session.device.from_main)
        # what is missing is found before images are read
        config.resolved(task.recipe_for(None, freeze=config.freeze), f"ssl-seg {task.command}")
        init = resolve_init_weights(
            config.init,
            backbone=config.backbone,
            options=config.o.get("backbone", {}),
            image_size=config.image_size,
            any_size=config.any_size,
            prefix=config.prefix,
        )
        config = init.applied_to(config)
        if is_measured(config):
            needs = {"masks": True} if task.pixels else {"labelled": True}
            config = with_measured_range(config, _open_dataset(components, config, "train", **needs))
        open_dataset = partial(_open_dataset, components, config)
        data, config = load_with_extra_images(task, session, config, open_dataset)
        config = with_in_chans(config, data.images.channels, components.registry)
        model, config = _build_model(task, session, config, components, data)
        # a resumed run has its own weights, but the features of a frozen backbone come before they are read
        if config.freeze or not session.run_dir.resume:
            init.load(model.backbone, session.progress.print_line, components.resolved.add)
            task.init_head(session, model, init)
        module = task.build_module(model, config, data)
        config = config.resolved(
            task.recipe_for(model.backbone, freeze=config.freeze), f"ssl-seg {task.command}"
        )
        print_line = session.progress.print_line
        normalization = normalization_of(data.images, init.stated_normalization, print_line)
        setup = Setup(session, config, data, module, normalization)
        run_finetuning(task, setup, components)
    return RunResult(folder, forecast=session.forecast)


def run_finetuning(task: Task[C, M], setup: Setup[C, M], components: "Components") -> None:
    """Train and measure a model, and leave the run's folder complete.

    Args:
        setup: with resolved settings.
        components: builds the metrics, and knows every option.
    """
    from ssl_seg.augment.recipes import of_channels
    from ssl_seg.workflows.crop_size import warn_of_untrained_taps
    from ssl_seg.workflows.optimization import configure_optimizer, warn_of_accumulation
    from ssl_seg.workflows.run_toml import record_settings

    session, config, data = setup.session, setup.config, setup.data
    device, run_dir, module = session.device, session.run_dir, setup.module
    steps_per_epoch = setup.sampler.steps_per_epoch
    optimizer, schedule = configure_optimizer(config, module, steps_per_epoch, early=run_dir.is_early)
    warn_of_accumulation(config.accumulate, module.train(), f"ssl-seg {task.command}")
    check_same_channels(data.images, data.val_images, config.val or "")
    views = task.train_views(setup)
    components.resolved.add_views(of_channels(views, data.images.channels)[0])
    options = task.metric_options(config, data)
    components.resolved.add("metric", components.registry.resolved("metrics", task.metric, options))
    record_settings(session, config, data.caches, module, steps_per_epoch, components.resolved)
    session.announce(_headline(setup))
    print_left_out(views, data.images.channels, session.progress.print_line)
    device.to_device(module)
    if not run_dir.resume:
        warn_of_untrained_taps(module.model, config.size)
    batches = task.build_batches(setup)
    validation = _validation(task, setup, components) if data.val_images else None
    save_snapshots = task.snapshots(setup)

    def on_epoch_end(epoch: int) -> dict[str, float]:
        save_snapshots(epoch)
        return validation.validate(epoch) if validation else {}

    steps = session.fit(module, batches, optimizer, schedule, on_epoch_end)
    last_epoch, stopping = -(-steps // steps_per_epoch), session.stopping
    if stopping.reason:  # it may have been decided after the epoch's snapshots were due
        stopping.is_last = True
        save_snapshots(last_epoch)
    if device.is_main:
        _save(task, setup)
    again = bool(stopping.reason and task.pixels)
    if validation and not validation.write_result(last_epoch, again=again):
        session.signals.received_on_any_rank(device)  # all processes learn which signal it was
        raise Stopped(session.signals.signal, next=run_dir.resume_command)
    session.finish(steps)
    if device.is_main:
        weights = [f"weights: {run_dir.folder / 'model.safetensors'}"]
        session.progress.print_line(*(validation.summary() if validation else weights))


def _open_dataset(components: "Components", config: "FinetuneConfig", role: str, **needs: Any) -> Any:
    data_spec: str | None = getattr(config, role)
    return components.dataset(role, data_spec or "", config.o, **{"split": role, **needs})


def _build_model(
    task: Task[C, M], session: Session, config: C, components: "Components", data: FinetuneData
) -> tuple["Model", C]:
    """Backbone and head, untrained, and the settings that they have."""
    from ssl_seg.base import Model
    from ssl_seg.workflows.crop_size import options_for_size

    backbone, config = task.build_backbone(session, config, components)
    if not session.run_dir.resume:
        factory = components.registry.factory("heads", config.head)
        suited = options_for_size(factory, config.o.get("head", {}), backbone.strides, config.size)
        config = config.with_options("head", suited)
    shape = backbone.channels, backbone.strides, len(data.classes)
    head = components.build("heads", config.head, *shape, part="head", options=config.o.get("head"))
    return Model(backbone, head, excluded=data.excluded), config


def _headline(setup: Setup[C, M]) -> str:
    config, data = setup.config, setup.data
    return (
        f"{config.head} on {config.backbone}{' (frozen)' if config.freeze else ''}: {len(data.images)} "
        f"images, {len(data.classes)} classes, {pluralize(setup.epochs, 'epoch')} of "
        f"{pluralize(setup.sampler.steps_per_epoch, 'step')}, {setup.session.device.describe()}"
    )


def _validation(task: Task[C, M], setup: Setup[C, M], components: "Components") -> "ValidationLog":
    """Validates the model after each epoch that is due."""
    from ssl_seg.weights.model_file import save_model
    from ssl_seg.workflows.metric_collection import MetricCollection
    from ssl_seg.workflows.validator import ValidationLog

    session, config, data = setup.session, setup.config, setup.data
    registry, classes = components.registry, data.classes
    options = task.metric_options(config, data)
    metric: Metric = registry.build("metrics", task.metric, classes, options=options)
    validator = task.build_validator(
        setup,
        metric,
        device=session.device,
        normalization=setup.normalization,
        should_stop=session.should_stop,
        run_dir=session.run_dir,
        extra_metrics=MetricCollection(
            _extra_metrics(registry, config, classes), classes, pixels=task.pixels
        ),
    )

    def save_best(epoch: int) -> None:
        path = session.run_dir.folder / "best.safetensors"
        save_model(path, setup.module.evaluated, _metadata(task, setup) | {"epoch": epoch})

    return ValidationLog(
        validator,
        session.run_dir,
        is_main=session.device.is_main,
        is_due=lambda epoch: session.stopping.is_last or task.is_due(setup, epoch),
        save_best=save_best,
        print_line=session.progress.print_line,
    )


def _extra_metrics(registry: Any, config: "FinetuneConfig", classes: Sequence[str]) -> dict[str, "Metric"]:
    return {name: registry.build("metrics", name, list(classes)) for name in split_names(config.metric)}


def _save(task: Task[C, M], setup: Setup[C, M]) -> None:
    """Write `model.safetensors`, and the backbone alone for others to start from."""
    from ssl_seg.weights.model_file import save_model
    from ssl_seg.workflows.metadata import save_backbone_of_run

    folder, precision = setup.session.run_dir.folder, setup.session.device.precision
    model = setup.module.evaluated
    save_model(folder / "model.safetensors", model, _metadata(task, setup))
    more = {"trained_by": task.command, **setup.normalization}
    save_backbone_of_run(folder, model.backbone, setup.config, precision, **more)


def _metadata(task: Task[C, M], setup: Setup[C, M]) -> dict[str, Any]:
    from ssl_seg.workflows.metadata import model_metadata

    data, precision = setup.data, setup.session.device.precision
    return model_metadata(
        task.command, setup.config, data.classes, precision, setup.normalization, data.metadata
    )
