"""What `train`, `classify` and `segment` do alike: opening, recording and finishing a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.run_settings import check_parts, refuse_changes
from ssl_seg.engine.signals import Stop
from ssl_seg.utils.progress import Console
from ssl_seg.workflows.bad_files import NAME, BadFiles
from ssl_seg.workflows.process_guard import blamed, together
from ssl_seg.workflows.resolved import Resolved
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.run_status import recorded, stoppable

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ssl_seg.augment.views import View
    from ssl_seg.base import Backbone, Dataset
    from ssl_seg.data.image_cache import Store
    from ssl_seg.data.loader import Batch
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.loop import Feed
    from ssl_seg.engine.monitors import CollapseAlarm
    from ssl_seg.engine.schedule import Plan
    from ssl_seg.plugins import Plugins


class Training:
    """The surroundings of one run. A command's own class says in `go` what is trained on what.

    Attributes:
        given: every flag of the command by its name.
        options: of the parts: `{"ssl": {"decay": "0.99"}}`.
        size: side of what the network sees, in pixels.
        resolved: every option of every part, default or not, for `run.toml`.
    """

    def __init__(
        self,
        given: dict[str, Any],
        plugins: "Plugins",
        device: "Device",
        run: Run,
        stop: Stop,
        console: Console,
    ) -> None:
        self.given, self.plugins, self.device = given, plugins, device
        self.run, self.stop, self.console = run, stop, console
        self.options: dict[str, dict[str, str]] = given["o"]
        self.resolved = Resolved()
        self.bad_files = BadFiles(run.folder / NAME, writes=run.main)

    @classmethod
    def start(
        cls, given: dict[str, Any], folder: Path, *, resume: bool, names: Iterable[tuple[str, str]]
    ) -> RunResult:
        """Do everything, from the first look at the names to the end of the run.

        Args:
            given: see the class.
            names: kinds and names of components: a typing error is found before anything is read.
        """
        from ssl_seg.engine.deterministic import deterministic
        from ssl_seg.engine.device import Device
        from ssl_seg.engine.loggers import check_trackers
        from ssl_seg.plugins import load_plugins

        with Stop(prompt=True) as stop, Console() as console, stoppable(folder):
            device = Device(given["precision"], compile=given["compile"], cpu=given["cpu"])
            console.quiet = not device.is_main
            with together(device):
                device.agree_on({"command": cls.command, "out": str(folder), **given, "resume": resume})
                check_parts(given, device.ranks)
                check_trackers(given["track"] or "")
                plugins = load_plugins()
                for kind, name in names:
                    plugins.registry.factory(kind, name)
                for failure in plugins.registry.failures:
                    console.say(f"note: {failure}")
                run = Run(folder, cls.command, resume=resume, main=device.is_main)
                with run, recorded(run), blamed(device, run):
                    if resume:
                        refuse_changes(given, run.settings())
                    with deterministic(given["deterministic"]):
                        cls(given, plugins, device, run, stop, console).go()
        return RunResult(folder)

    command = ""

    def go(self) -> None:
        """Train, and leave the run's folder complete."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        size: int = self.given["image_size"]
        return size

    @property
    def canvas(self) -> int:
        """To what images are reduced before anything else."""
        canvas: int = self.given["canvas"] or 2 * self.size
        return canvas

    def new_backbone(self) -> "Backbone":
        """An untrained backbone; its weights, and those of what is built next, depend on the seed alone."""
        import torch

        from ssl_seg.weights.first_version import as_it_was

        if self.run.is_early:
            self.options["backbone"] = as_it_was(self.given["backbone"], self.options.get("backbone", {}))
        torch.manual_seed(self.given["seed"])
        backbone: Backbone = self.build("backbones", self.given["backbone"], part="backbone")
        return backbone

    def build(self, kind: str, name: str, *given: Any, part: str) -> Any:
        """A component with the user's options of its part."""
        options = self.options.get(part)
        made = self.plugins.registry.build(kind, name, *given, options=options)
        self.resolved.add(part, self.plugins.registry.resolved(kind, name, options))
        return made

    def dataset(
        self, role: str, *, parts: Sequence[str] = ("data",), split: str = "", **needs: Any
    ) -> "Dataset":
        """What a flag names, with the options of `parts`; of an option that several give, the last holds.

        Args:
            role: the flag: `data`, `probe`, `train` or `val`.
            needs: `labelled`, `masks` and `palette`, see `open_dataset`.
        """
        from ssl_seg.workflows.data import open_dataset, options_of_run

        options = {key: value for part in parts for key, value in self.options.get(part, {}).items()}
        how: dict[str, Any] = {"split": split, "shared": options_of_run(self.options), **needs}
        how["note"] = partial(self.resolved.add, role)
        return open_dataset(self.plugins.registry, self.given[role], options=options, **how)

    def store(self, dataset: "Dataset") -> "Store":
        """Its images, decoded once."""
        from ssl_seg.workflows.data import load

        given = self.given
        store = load(
            dataset,
            self.canvas,
            self.console,
            cache=Path(given["cache"]) if given["cache"] else None,
            bad_images=given["bad_images"],
            keep=self.bad_files.keep,
        )
        self.device.meet()  # another machine may still be reading
        return store

    def views(self, views: Sequence["View"], batch: "Batch", **normalisation: Any) -> list["Tensor"]:
        """The views of a batch of images."""
        from ssl_seg.augment.views import augment

        common = {"seed": self.given["seed"], "epoch": batch.epoch, "size": self.size}
        return augment(batch.images, views, batch.sizes, batch.samples, **common, **normalisation)

    def parts(self, tensors: Sequence["Tensor"]) -> list[list["Tensor"]]:
        """A batch in as many parts as gradients are accumulated over."""
        cut = [tensor.chunk(self.given["accumulate"]) for tensor in tensors]
        return [list(part) for part in zip(*cut, strict=True)]

    def draw_views(self, images: "Tensor", views: Sequence["Tensor"], **how: Any) -> None:
        """A sheet of the first views, to see what the network is going to see; `how`: see `draw_views`."""
        from ssl_seg.figures.views import draw_views

        if self.device.is_main and not self.run.resume:
            first = [view[:8] for view in views]
            path = self.run.folder / "figures" / "views.png"
            draw_views(path, images[: len(first[0])], first, **how)

    def fit(
        self,
        module: "nn.Module",
        feed: "Feed",
        optimizer: "Optimizer",
        plan: "Plan",
        on_epoch: Callable[[int], Mapping[str, float]],
        alarm: "CollapseAlarm | None" = None,
    ) -> None:
        """The loop, with this run's folder, signals, progress and trackers."""
        from ssl_seg.engine.loggers import Tracking, check_trackers
        from ssl_seg.engine.loop import fit

        self.stop.prompt = False  # from here on it is the loop that looks whether one has come, and saves

        def after_epoch(epoch: int, scores: Mapping[str, float]) -> None:
            tracking.log(scores)
            self.notify("epoch_end", epoch=epoch, scores=scores)

        self.notify("run_start")
        self.device.meet()
        names = check_trackers(self.given["track"] or "") if self.device.is_main else []
        with Tracking(names, self.run) as tracking:
            trained = module, feed, optimizer, plan
            fit(
                *trained,
                device=self.device,
                run=self.run,
                stop=self.stop,
                alarm=alarm,
                on_epoch=on_epoch,
                after_epoch=after_epoch,
                report=self.console.training,
            )

    def save_backbone(self, backbone: "Backbone", **about: Any) -> None:
        """Write `backbone.safetensors`; its header says what it is and how it wants its images."""
        from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
        from ssl_seg.weights.backbone_file import save_backbone
        from ssl_seg.workflows.data import options_of_run, range_in

        header = {
            "backbone": self.given["backbone"],
            "options": self.options.get("backbone", {}),
            "image_size": self.size,
            "canvas": self.canvas,
            "precision": self.device.precision,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "epochs": self.given["epochs"],
            **range_in(options_of_run(self.options)),
        }
        save_backbone(self.run.folder / "backbone.safetensors", backbone, header | about)

    def finish(self, step: int) -> None:
        """The run is whole: its status, and word to the observers."""
        if self.device.is_main:
            self.run.set_status("finished", step=step, code=0, checkpoint=f"step-{step:06d}")
        self.notify("run_end")

    def notify(self, hook: str, **values: Any) -> None:
        """Word to the observers, which are those of the main process."""
        if self.device.is_main:
            self.plugins.notify(hook, run=self.run, **values)

    def stopped(self) -> bool:
        """Whether a signal has come to any process. All of them must ask."""
        return self.stop.came(self.device)
