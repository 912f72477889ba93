"""The surroundings of a training run: device, run folder, signals, progress and observers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.run_settings import check_batch_split, check_resume_config
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.engine.stopping import Stopping, stopping_from
from ssl_seg.errors import pluralize
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.workflows.bad_files import NAME, BadFiles
from ssl_seg.workflows.process_guard import attribute_failure, process_group_guard
from ssl_seg.workflows.run_status import record_exit_status, stoppable
from ssl_seg.workflows.trial import Trial, TrialEnded, run_folder_of, trial_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.loggers import ExperimentLogger
    from ssl_seg.engine.monitors import CollapseMonitor
    from ssl_seg.engine.schedule import Schedule
    from ssl_seg.engine.side_stream import BatchFn
    from ssl_seg.plugins import PluginManager
    from ssl_seg.workflows.config import RunConfig
    from ssl_seg.workflows.forecast import Forecast


@dataclass(frozen=True)
class Session:
    """Where a run takes place; see `open_session`.

    Attributes:
        run_dir: the locked folder of the run.
        device: on which it computes.
        plugins: the registry, and the observers.
        signals: those that have come.
        progress: what people see.
        bad_files: the list of those that cannot be used.
        loggers: names for `--track`.
        stopping: when the run ends before its last step.
        trial: what takes the place of the run, if it is only tried.
    """

    run_dir: Run
    device: "Device"
    plugins: "PluginManager"
    signals: SignalHandler
    progress: ProgressDisplay
    bad_files: BadFiles
    loggers: str = ""
    stopping: Stopping = field(default_factory=Stopping)
    trial: "Trial | None" = None

    @property
    def forecast(self) -> "Forecast | None":
        """What a dry run has measured; None of a run."""
        return getattr(self.trial, "forecast", None)

    @property
    def started(self) -> dict[str, Any] | None:
        """The settings that a resumed run was started with; None of a new one."""
        return self.run_dir.settings() if self.run_dir.resume else None

    def announce(self, headline: str) -> None:
        """Print what is trained, and where it is written."""
        folder = [] if self.trial else [f"run: {self.run_dir.folder}"]
        self.progress.print_line(headline, *folder)

    def image_cache(self, dataset: "Dataset", config: "RunConfig") -> "ImageCache":
        """The images of a dataset, decoded once."""
        from ssl_seg.workflows.data import open_images

        images = open_images(
            dataset,
            config.canvas_size,
            self.progress,
            cache=Path(config.cache) if config.cache else None,
            bad_images=config.bad_images,
            add_bad_files=self.bad_files.add,
            share=self.device.from_main,
        )
        self.device.barrier()  # another machine may still be reading
        return images

    def save_view_sheet(self, images: "Tensor", views: Sequence["Tensor"], **options: Any) -> None:
        """Draw the first views, as the network sees them; `options`: see `draw_views`."""
        from ssl_seg.figures.views import draw_views

        if self.device.is_main and not self.run_dir.resume and not self.trial:
            first = [view[:8] for view in views]
            if (painted := options.get("painted")) is not None:
                options["painted"] = painted[:8]
            path = self.run_dir.folder / "figures" / "views.png"
            draw_views(path, images[: len(first[0])], first, **options)

    def fit(
        self,
        module: "nn.Module",
        batches: "BatchFn",
        optimizer: "Optimizer",
        schedule: "Schedule",
        on_epoch_end: Callable[[int], Mapping[str, float]],
        monitor: "CollapseMonitor | None" = None,
    ) -> int:
        """The loop, with this run's folder, signals, progress and experiment loggers; returns the steps done."""
        from ssl_seg.engine.loop import fit

        self.signals.prompt = False  # from here on it is the loop that looks whether one has come, and saves

        def epoch_end(epoch: int, scores: Mapping[str, float]) -> str:
            if tracking:
                tracking.log(scores)
            return "stop" if "stop" in self.notify("epoch_end", epoch=epoch, scores=scores) else ""

        def step_end(step: int, scores: "Mapping[str, Tensor]") -> None:
            self.notify("step_end", step=step, scores=scores)

        watches_steps = self.plugins.observes("step_end")  # reading the scalars of a step costs time
        observer = SimpleNamespace(epoch_end=epoch_end, **({"step_end": step_end} if watches_steps else {}))
        options: dict[str, Any] = {
            "device": self.device,
            "run": self.run_dir,
            "signals": self.signals,
            "monitor": monitor,
            "on_epoch_end": on_epoch_end,
            "on_progress": self.progress.training,
            "stopping": self.stopping,
        }
        if self.trial is not None:
            with self.progress.silenced():  # what a validation prints, for one
                self.trial.run(fit, module, batches, optimizer, schedule, options)
            self.progress.print_line(*self.trial.lines())
            raise TrialEnded
        self.notify("run_start")
        self.device.barrier()
        with self._experiment_logger() as tracking:
            steps = fit(module, batches, optimizer, schedule, observers=[observer], **options)
        if self.stopping.reason:
            self.progress.print_line(f"ended after {pluralize(steps, 'step')}: {self.stopping.reason}")
        return steps

    def _experiment_logger(self) -> "AbstractContextManager[ExperimentLogger | None]":
        """What sends the scores of the main process to `--track`; nothing without it."""
        if not (self.loggers and self.device.is_main):
            return nullcontext()
        from ssl_seg.engine.loggers import ExperimentLogger, parse_loggers

        return ExperimentLogger(parse_loggers(self.loggers), self.run_dir)

    def finish(self, step: int) -> None:
        """Mark the run as finished, and notify the observers."""
        if self.device.is_main:
            self.run_dir.set_status("finished", step=step, code=0, checkpoint=f"step-{step:06d}")
        self.notify("run_end")

    def notify(self, hook: str, **values: Any) -> list[str]:
        """Call the observers, which are those of the main process; returns the texts that they return."""
        return self.plugins.notify(hook, run=self.run_dir, **values) if self.device.is_main else []

    def should_stop(self) -> bool:
        """Whether a signal has come to this process."""
        return self.signals.signal > 0


@contextmanager
def open_session(
    command: str,
    folder: Path,
    config: "RunConfig",
    *,
    resume: bool,
    components: Iterable[tuple[str, str]] = (),
) -> Iterator[Session]:
    """Open a run's folder, and leave it in a known state however the work inside ends.

    Args:
        command: `train`, `classify` or `segment`.
        components: kinds and names: a typing error is found before anything is read.
    """
    from ssl_seg.engine.deterministic import deterministic
    from ssl_seg.engine.device import Device
    from ssl_seg.plugins import load_plugins

    settings, stopping = config.settings(), stopping_from(config.max_time, config.early_stop)
    trial = trial_of(config)
    with (
        SignalHandler(prompt=True) as signals,
        ProgressDisplay() as progress,
        stoppable(folder),
        run_folder_of(folder, trial) as own_folder,
    ):
        progress.lines = progress.warns = trial is None or not trial.quiet
        device = Device(
            config.precision,
            compile=config.compile,
            name=config.device,
            sync_batchnorm=config.sync_batchnorm,
            cuda_graph=config.cuda_graph,
        )
        progress.quiet = not device.is_main
        several = device.world_size > 1
        with process_group_guard(device) if several else nullcontext():
            device.assert_same_config({"command": command, "out": str(folder), **settings, "resume": resume})
            check_batch_split(settings, device.world_size)
            if config.track:
                from ssl_seg.engine.loggers import parse_loggers

                parse_loggers(config.track)  # which refuses what is not there
            plugins = load_plugins()
            for kind, name in components:
                plugins.registry.factory(kind, name)
            for failure in plugins.registry.failures:
                progress.print_line(f"note: {failure}")
            run_dir = Run(own_folder, command, resume=resume, main=device.is_main)
            attribution = attribute_failure(device, run_dir) if several else nullcontext()
            with run_dir, record_exit_status(run_dir), attribution:
                if resume:
                    check_resume_config(settings, run_dir.settings())
                bad_files = BadFiles(None if trial else folder / NAME, writes=run_dir.main)
                with deterministic() if config.deterministic else nullcontext(), suppress(TrialEnded):
                    own = run_dir, device, plugins, signals, progress, bad_files
                    yield Session(*own, config.track or "", stopping, trial)
