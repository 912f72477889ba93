"""Pre-training a backbone on images without labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError, pluralize
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.session import Session, open_session

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, SSLMethod
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Loader
    from ssl_seg.engine.run_dir import Run
    from ssl_seg.workflows.components import Components


def pretrain_by_names(config: PretrainConfig, folder: Path, *, resume: bool) -> RunResult:
    """Build what the settings name, and pre-train it in a run's folder."""
    from ssl_seg.workflows.components import Components, with_canonical_names
    from ssl_seg.workflows.init_weights import init_of_pretraining

    names = [("ssl", config.ssl), *([("backbones", config.backbone)] if config.backbone else [])]
    with open_session("train", folder, config, resume=resume, components=names) as session:
        config = with_canonical_names(config, session.plugins.registry)
        components = Components(session.plugins.registry)
        init = init_of_pretraining(config)
        backbone, config = components.backbone(init.applied_to(config), early=session.run_dir.is_early)
        if not session.run_dir.resume:
            init.load(backbone, session.progress.print_line)
        method = components.method(config, backbone)
        config = config.resolved(method.recipe, f"ssl method {config.ssl}", session.started)
        data = components.dataset("data", config.data, config.o)
        probe = None
        if config.probe:
            needs: dict[str, Any] = {"parts": (), "split": "train", "labelled": True}
            probe = components.dataset("probe", config.probe, config.o, **needs)
        run_pretraining(session, config, method, data, probe, components, init.normalization)
    return RunResult(folder)


def run_pretraining(
    session: Session,
    config: PretrainConfig,
    method: "SSLMethod",
    data: "Dataset",
    probe_data: "Dataset | None",
    components: "Components",
    normalization: Mapping[str, Any],
) -> None:
    """Train a method, and leave the run's folder complete.

    Args:
        config: resolved.
        probe_data: labelled images, on which features are measured on the way.
        components: builds the metric of the probe, and knows every option.
        normalization: `mean` and `std` of images in [0, 1].
    """
    from ssl_seg.engine.flops import training_flops
    from ssl_seg.engine.monitors import CollapseMonitor
    from ssl_seg.results.predictions import PROBE
    from ssl_seg.workflows.batches import make_views, open_loader, pretrain_batches, side_multiple
    from ssl_seg.workflows.knn_probe import measure_untrained, open_probe
    from ssl_seg.workflows.metadata import save_backbone_of_run
    from ssl_seg.workflows.optimization import configure_optimizer, warn_of_accumulation
    from ssl_seg.workflows.run_toml import record_settings

    device, run_dir, say = session.device, session.run_dir, session.progress.print_line
    caches = _image_caches(session, config, data, probe_data, needs_labels=method.needs_labels)
    images = caches["data"]
    loader = open_loader(images, config, device)
    optimizer, schedule = configure_optimizer(config, method, loader.steps_per_epoch, early=run_dir.is_early)
    warn_of_accumulation(config.accumulate, method, config.ssl)
    probe = probe_data and open_probe(session, config, probe_data, caches["probe"], components, normalization)
    components.resolved.add_views(method.views)
    first = loader.batch_at(0)
    views = make_views(first, method.views, config, multiple=side_multiple(method), **normalization)
    costs = {"flops_per_image": training_flops(method, views.with_facts(targets=first.targets), device)}
    record_settings(session, config, caches, method, loader.steps_per_epoch, components.resolved, costs)
    say(f"{config.ssl} on {config.backbone}: {_amount(len(images), config, loader)}, {device.describe()}")
    say(f"run: {run_dir.folder}")
    if probe and not run_dir.resume:
        measure_untrained(session, method, probe, images, config.init)
    session.save_view_sheet(first.images, views, **normalization)

    def on_epoch_end(epoch: int) -> dict[str, float]:
        due = probe and (epoch % config.probe_every == 0 or session.stopping.is_last)
        scores = probe(method.backbone, run_dir.folder / PROBE) if probe and due else {}
        for name, value in scores.items():
            say(f"epoch {epoch}: {name} {value:.3f}")
        return scores

    monitor = CollapseMonitor() if config.on_collapse == "stop" else None
    batches = pretrain_batches(loader, method, config, schedule.total_steps, normalization)
    steps = session.fit(method, batches, optimizer, schedule, on_epoch_end, monitor)
    if device.is_main:
        about = {"trained_by": config.ssl, **normalization}
        save_backbone_of_run(run_dir.folder, method.backbone, config, device.precision, **about)
    session.finish(steps)
    if device.is_main:
        say(f"finished: {_last_scores(run_dir)}", f"weights: {run_dir.folder / 'backbone.safetensors'}")


def _amount(images: int, config: PretrainConfig, loader: "Loader") -> str:
    epochs, steps = pluralize(config.epochs, "epoch"), pluralize(loader.steps_per_epoch, "step")
    return f"{images} images, {epochs} of {steps}"


def _last_scores(run_dir: "Run") -> str:
    last = (run_dir.scores() or [{}])[-1]  # of a finished run of 0.1.0 they may be lost
    return ", ".join(f"{name} {last[name]:.3f}" for name in last if name.startswith(("loss", "probe")))


def _image_caches(
    session: Session,
    config: PretrainConfig,
    data: "Dataset",
    probe_data: "Dataset | None",
    *,
    needs_labels: bool,
) -> dict[str, "ImageCache"]:
    """The images to train on, and those of the probe."""
    from ssl_seg.data.label_checks import check_labels

    caches = {"data": session.image_cache(data, config)}
    if needs_labels and not (caches["data"].targets >= 0).any():
        raise DataError(
            f"{config.ssl} trains on labels, and no image of {config.data} has one",
            next="a folder per class, or a CSV file with the columns filename and label",
        )
    if probe_data is not None:
        caches["probe"] = session.image_cache(probe_data, config)
        check_labels(caches["probe"], probe_data, config.probe or "probe")
    return caches
