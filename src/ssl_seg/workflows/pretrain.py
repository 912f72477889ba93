"""Pre-training a backbone on images without labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import pluralize
from ssl_seg.workflows.batch_size import with_batch_size
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.pixels import (
    check_channels,
    normalization_of,
    print_left_out,
    with_in_chans,
    with_measured_range,
)
from ssl_seg.workflows.recipe_check import check_lr
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.session import Session, open_session

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, SSLMethod
    from ssl_seg.engine.run_dir import Run
    from ssl_seg.workflows.components import Components


def pretrain_by_names(config: PretrainConfig, folder: Path, *, resume: bool) -> RunResult:
    """Build what the settings name, and pre-train it in a run's folder."""
    from ssl_seg.workflows.components import Components, with_canonical_names
    from ssl_seg.workflows.init_weights import init_of_pretraining

    config = with_batch_size(config, pretrain_by_names, folder, resume=resume)
    names = [("ssl", config.ssl), *([("backbones", config.backbone)] if config.backbone else [])]
    with open_session("train", folder, config, resume=resume, components=names) as session:
        config = with_canonical_names(config, session.plugins.registry)
        if not resume:
            check_lr("train", config.settings(), session.plugins.registry)
        components = Components(session.plugins.registry, session.device.from_main)
        init = init_of_pretraining(config)
        config = init.applied_to(config)
        data = components.dataset("data", config.data, config.o)
        config = with_in_chans(with_measured_range(config, data), data.channels, components.registry)
        backbone, config = components.backbone(config, early=session.run_dir.is_early)
        if not session.run_dir.resume:
            init.load(backbone, session.progress.print_line, components.resolved.add)
        # of other bands than colours the images are needed to know it
        normalization = init.stated_normalization
        if data.bands or data.channels != 3:
            images = session.image_cache(data, config)
            normalization = normalization_of(images, normalization, session.progress.print_line)
        of_views = normalization or init.normalization
        method = components.method_with_teacher(config, backbone, session.progress, of_views)
        config = config.resolved(method.recipe, f"ssl method {config.ssl}", session.started)
        probe = components.probe_dataset(config)
        run_pretraining(session, config, method, data, probe, components, normalization)
    return RunResult(folder, forecast=session.forecast)


def run_pretraining(
    session: Session,
    config: PretrainConfig,
    method: "SSLMethod",
    data: "Dataset",
    probe_data: "Dataset | None",
    components: "Components",
    stated: Mapping[str, Any] | None,
) -> None:
    """Train a method, and leave the run's folder complete.

    Args:
        config: resolved.
        probe_data: labelled images, on which features are measured on the way.
        components: builds the metric of the probe, and knows every option.
        stated: `mean` and `std` of images in [0, 1]; None: see `normalization_of`.
    """
    from ssl_seg.data.label_checks import require_labels
    from ssl_seg.engine.flops import training_flops
    from ssl_seg.engine.monitors import CollapseMonitor
    from ssl_seg.workflows.batches import method_views, open_loader, pretrain_batches, views_for
    from ssl_seg.workflows.knn_probe import measure_untrained, open_probe, probe_epochs
    from ssl_seg.workflows.metadata import save_backbone_of_run
    from ssl_seg.workflows.optimization import configure_optimizer, warn_of_accumulation
    from ssl_seg.workflows.run_toml import record_settings

    device, run_dir, print_line = session.device, session.run_dir, session.progress.print_line
    images = session.image_cache(data, config)
    if method.needs_labels:
        require_labels(images, config.data, config.ssl)
    check_channels(images.channels, method, "the images")
    normalization = normalization_of(images, stated, print_line)
    probe = open_probe(session, config, probe_data, components, normalization) if probe_data else None
    caches = {"data": images, **({"probe": probe.images} if probe else {})}
    augmentation = method_views(method, config, normalization)
    loader = open_loader(images, config, device, augmentation.draw)
    optimizer, schedule = configure_optimizer(config, method, loader.steps_per_epoch, early=run_dir.is_early)
    warn_of_accumulation(config.accumulate, method, config.ssl)
    components.resolved.add_views(augmentation.views)
    views = views_for(method, augmentation, first := loader.batch_at(0))
    costs = {} if run_dir.resume else {"flops_per_image": training_flops(method, views, device)}
    record_settings(session, config, caches, method, loader.steps_per_epoch, components.resolved, costs)
    session.announce(
        f"{config.ssl} on {config.backbone}: {len(images)} images, {pluralize(schedule.epochs, 'epoch')} of "
        f"{pluralize(loader.steps_per_epoch, 'step')}, {device.describe()}"
    )
    print_left_out(method.views, images.channels, print_line)
    if probe and not run_dir.resume:
        measure_untrained(session, method, probe, images, config.init)
    session.save_view_sheet(first.images, views, **normalization)
    on_epoch_end = probe_epochs(session, config, method, probe) if probe else lambda epoch: {}
    monitor = CollapseMonitor() if config.on_collapse == "stop" else None
    batches = pretrain_batches(loader, augmentation, method, config, schedule.total_steps)
    steps = session.fit(method, batches, optimizer, schedule, on_epoch_end, monitor)
    if device.is_main:
        about = {"trained_by": config.ssl, **normalization}
        save_backbone_of_run(run_dir.folder, method.backbone, config, device.precision, **about)
    session.finish(steps)
    if device.is_main:
        print_line(*_summary(run_dir))


def _summary(run_dir: "Run") -> list[str]:
    """The scores of the last epoch, and where the weights are."""
    last = (run_dir.scores() or [{}])[-1]  # of a finished run of 0.1.0 they may be lost
    scores = ", ".join(f"{name} {last[name]:.3f}" for name in last if name.startswith(("loss", "probe")))
    return [f"finished: {scores}", f"weights: {run_dir.folder / 'backbone.safetensors'}"]
