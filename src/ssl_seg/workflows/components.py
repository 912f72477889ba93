"""From the names in a run's settings to components; every option of each is noted for `run.toml`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ssl_seg.engine.run_settings import COMPONENTS
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.config import ClassificationConfig, Options, PretrainConfig, SegmentationConfig

if TYPE_CHECKING:
    from ssl_seg.augment.recipes import View
    from ssl_seg.base import Backbone, Dataset, SSLMethod
    from ssl_seg.data.files import Share
    from ssl_seg.registry import Registry
    from ssl_seg.utils.progress import ProgressDisplay

C = TypeVar("C", PretrainConfig, ClassificationConfig, SegmentationConfig)


def with_canonical_names(config: C, registry: "Registry") -> C:
    """Settings with the names under which components are registered, whatever the user's case and hyphens."""
    settings, changes = config.settings(), {}
    for flag, kind in COMPONENTS.items():
        if not (text := settings.get(flag)):
            continue
        names = split_names(text) if flag == "metric" else [text]
        canonical = [registry.canonical(kind, name) for name in names]
        if canonical != names:
            changes[flag] = type(text)(",".join(canonical))
    return replace(config, **changes)


class Resolved(dict[str, Any]):
    """Every option of every part, default or not, and the recipe of every view."""

    def add(self, part: str, values: Mapping[str, Any]) -> None:
        """Note the options of a part; what is known of it stays."""
        self[part] = {**self.get(part, {}), **values}

    def add_views(self, views: Sequence["View"]) -> None:
        """Note how views are made, as `views.1`, `views.2`, ..."""
        self.add("views", {str(number): asdict(view) for number, view in enumerate(views, start=1)})


class Components:
    """Builds components by name.

    Args:
        share: see `listed_once`.

    Attributes:
        resolved: every option of what was built, default or not.
    """

    def __init__(self, registry: "Registry", share: "Share" = lambda make: make()) -> None:
        self.registry, self._share = registry, share
        self.resolved = Resolved()

    def build(
        self, kind: str, name: str, *positional: Any, part: str, options: Mapping[str, str] | None
    ) -> Any:
        """A component with the user's options; `part` is its name in `run.toml`."""
        component = self.registry.build(kind, name, *positional, options=options)
        self.resolved.add(part, self.registry.resolved(kind, name, options))
        return component

    def backbone(self, config: C, *, early: bool) -> "tuple[Backbone, C]":
        """An untrained backbone; its weights, and those of what is built next, depend on the seed alone.

        Args:
            early: the run was started by version 0.1.0, and keeps the network that it had.

        Returns:
            The backbone, and the settings with its options.
        """
        import torch

        from ssl_seg.weights.first_version import as_it_was

        name, options = config.backbone or "resnet50", config.o.get("backbone", {})
        options = as_it_was(name, options) if early else options
        torch.manual_seed(config.seed)
        backbone: Backbone = self.build("backbones", name, part="backbone", options=options)
        return backbone, config.with_options("backbone", options)

    def method(self, config: PretrainConfig, backbone: "Backbone") -> "SSLMethod":
        """The SSL method, on a backbone that it can train.

        Raises:
            UsageError: it needs one of another kind.
        """
        from ssl_seg.augment.view_options import with_view_options
        from ssl_seg.nn.token_backbone import network_of

        factory = self.registry.factory("ssl", config.ssl)
        if network_of(factory) == "transformer" and not getattr(backbone, "patch", 0):
            raise UsageError(
                f"{config.ssl} needs a transformer, and {config.backbone} is none",
                next="--backbone vit_small_patch16_224; for a ResNet, --ssl spark",
            )
        method: SSLMethod = self.build("ssl", config.ssl, backbone, part="ssl", options=config.o.get("ssl"))
        if options := config.o.get("views"):
            method.views = with_view_options(method.views, options)
        if hasattr(method, "use_teacher") and not method.teacher_name:
            way = "-o ssl.teacher=timm:resnet50.a1_in1k, or a run or weight file"
            raise UsageError(f"{config.ssl} needs a teacher", next=way)
        return method

    def method_with_teacher(
        self,
        config: PretrainConfig,
        backbone: "Backbone",
        progress: "ProgressDisplay",
        normalization: Mapping[str, Any],
    ) -> "SSLMethod":
        """As `method`; one that has `use_teacher` gets the network that its option `teacher` names.

        Args:
            progress: says what was loaded.
            normalization: `mean` and `std` of the views.

        Raises:
            UsageError: see `method`; no such teacher. WeightsError: its weights cannot be read.
        """
        from ssl_seg.nn.layers import in_chans_of
        from ssl_seg.workflows.init_weights import resolve_init_weights
        from ssl_seg.workflows.pixels import check_channels

        method = self.method(config, backbone)
        if (use_teacher := getattr(method, "use_teacher", None)) is None:
            return method
        init = resolve_init_weights(str(method.teacher_name), backbone=None, options={}, image_size=None)
        teacher = self.registry.build("backbones", init.backbone, options=init.options)
        check_channels(in_chans_of(backbone), teacher, "the images")
        progress.print_line(f"teacher: {init.backbone}")
        try:
            init.load(teacher, progress.print_line, lambda _, values: self.resolved.add("teacher", values))
        except WeightsError as error:
            error.next = error.next and error.next.replace("--init ", "-o ssl.teacher=")
            raise
        use_teacher(teacher, size=init.image_size, normalization=init.normalization, of_views=normalization)
        return method

    def dataset(
        self,
        role: str,
        data_spec: str,
        options: Options,
        *,
        parts: Sequence[str] = ("data",),
        split: str = "",
        **needs: Any,
    ) -> "Dataset":
        """A dataset with the options of `parts`; of an option that several give, the last holds.

        Args:
            role: its name in `run.toml`: `data`, `probe`, `train` or `val`.
            needs: `labelled`, `masks` and `palette`, see `open_dataset`.
        """
        from ssl_seg.data.files import listed_once
        from ssl_seg.workflows.data import open_dataset, options_of_run

        own = {key: value for part in parts for key, value in options.get(part, {}).items()}
        with listed_once(self._share):
            return open_dataset(
                self.registry,
                data_spec,
                split=split,
                options=own,
                shared=options_of_run(options),
                note=partial(self.resolved.add, role),
                **needs,
            )

    def probe_dataset(self, config: PretrainConfig) -> "Dataset | None":
        """The labelled images of the k-NN probe, if there is one."""
        if not config.probe:
            return None
        return self.dataset("probe", config.probe, config.o, parts=(), split="train", labelled=True)
