"""The settings of a run, in the order in which `run.toml` has them; nothing changes them, a change makes new ones.

They are the parameters of the commands of the same names, with the same defaults; `o` holds the options of
components: `{"ssl": {"decay": "0.99"}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from ssl_seg.errors import UsageError

Options = Mapping[str, Mapping[str, str]]
Schedule = Literal["cosine", "constant", "poly"]
Precision = Literal["auto", "bf16", "fp32"]
BadImages = Literal["stop", "skip"]


@dataclass(frozen=True)
class _Settings:
    """What the settings of all workflows can do."""

    def settings(self) -> dict[str, Any]:
        """By their names, in order."""
        return dict(vars(self))

    def resolved(
        self, recipe: Mapping[str, Any], whose: str, started: Mapping[str, Any] | None = None
    ) -> Self:
        """With the optimizer's values that the user left open, from a recipe.

        Args:
            recipe: see `ssl_seg.engine.recipe.resolve`, which also says what it raises.
            whose: the recipe's owner, for an error.
            started: the settings of the run that is resumed.
        """
        from ssl_seg.engine.recipe import resolve

        return replace(self, **resolve(self.settings(), recipe, whose, started))

    def with_options(self, part: str, options: Mapping[str, str]) -> Self:
        """With these options of one component, and no others; none at all remove its entry."""
        current: Options = self.settings()["o"]
        rest = {name: own for name, own in current.items() if options or name != part}
        changes: dict[str, Any] = {"o": {**rest, **({part: dict(options)} if options else {})}}
        return replace(self, **changes)


def _check_subset(fraction: float | None, per_class: int | None, images: int | None) -> None:
    """Only one of the three says how many labelled images are used.

    Raises:
        UsageError: several do, or none of the images are left.
    """
    asked = {"--fraction": fraction, "--per-class": per_class, "--images": images}
    named = [flag for flag, value in asked.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} exclude each other", next="one of them")
    if fraction is not None and not 0 < fraction <= 1:
        raise UsageError(f"--fraction must be above 0 and at most 1, got {fraction}", next="--fraction 0.1")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(_Settings):
    """Settings of `train`."""

    data: str = ""
    ssl: str = "byol"
    backbone: str | None = None
    init: str | None = None
    epochs: int = 100
    batch_size: int = 64
    image_size: int = 128
    optimizer: str | None = None
    lr: float | None = None
    lr_end: float | None = None
    weight_decay: float | None = None
    weight_decay_end: float | None = None
    warmup: float | None = None
    schedule: Schedule | None = None
    momentum: float | None = None
    betas: str | None = None
    clip: float | None = None
    accumulate: int = 1
    max_steps: int | None = None
    max_time: str | None = None
    early_stop: str | None = None
    seed: int = 0
    precision: Precision = "auto"
    deterministic: bool = False
    compile: bool = False
    cpu: bool = False
    probe: str | None = None
    probe_every: int = 1
    on_collapse: Literal["stop", "ignore"] = "stop"
    bad_images: BadImages = "stop"
    canvas: int = 0
    cache: str | None = None
    save_every: int = 0
    track: str | None = None
    o: Options = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Side of what the network sees, in pixels."""
        return self.image_size

    @property
    def canvas_size(self) -> int:
        """To which side images are reduced before anything else, in pixels."""
        return self.canvas or 2 * self.size


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(_Settings):
    """Settings of `classify`."""

    train: str = ""
    val: str | None = None
    fraction: float | None = None
    per_class: int | None = None
    images: int | None = None
    subset_seed: int | None = None
    allow_overlap: bool = False
    backbone: str | None = None
    init: str | None = None
    freeze: bool = False
    head: str = "linear"
    epochs: int = 100
    batch_size: int = 64
    image_size: int | None = None
    any_size: bool = False
    augment: Literal["none", "light", "strong"] = "light"
    passes: int = 0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    keep_features: int = 2000
    optimizer: str | None = None
    lr: float | None = None
    backbone_lr: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    schedule: Schedule = "cosine"
    clip: float = 0.0
    accumulate: int = 1
    max_steps: int | None = None
    max_time: str | None = None
    early_stop: str | None = None
    seed: int = 0
    precision: Precision = "auto"
    deterministic: bool = False
    compile: bool = False
    cpu: bool = False
    bad_images: BadImages = "stop"
    canvas: int = 0
    cache: str | None = None
    save_every: int = 0
    track: str | None = None
    metric: str = ""
    o: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_subset(self.fraction, self.per_class, self.images)

    @property
    def size(self) -> int:
        """Side of what the network sees, in pixels."""
        return self.image_size or 128

    @property
    def canvas_size(self) -> int:
        """To which side images are reduced before anything else, in pixels."""
        return self.canvas or 2 * self.size


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(_Settings):
    """Settings of `segment`."""

    any_size: ClassVar[bool] = True  # of what the weights were trained at says nothing on whole images
    train: str = ""
    val: str | None = None
    fraction: float | None = None
    per_class: int | None = None
    images: int | None = None
    subset_seed: int | None = None
    allow_overlap: bool = False
    backbone: str | None = None
    init: str | None = None
    freeze: bool = False
    head: str = "deeplabv3"
    epochs: int = 50
    batch_size: int = 8
    image_size: int = 256
    augment: Literal["light", "turns", "strong"] = "light"
    loss: Literal["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"] = "ce"
    class_weights: bool = False
    exclude: str | None = None
    watch: str = ""
    watch_epochs: str = ""
    val_every: int = 1
    optimizer: str | None = None
    lr: float | None = None
    backbone_lr: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    schedule: Schedule = "poly"
    clip: float = 0.0
    accumulate: int = 1
    max_steps: int | None = None
    max_time: str | None = None
    early_stop: str | None = None
    seed: int = 0
    precision: Precision = "auto"
    deterministic: bool = False
    compile: bool = False
    cpu: bool = False
    bad_images: BadImages = "stop"
    canvas: int = 0
    cache: str | None = None
    save_every: int = 0
    track: str | None = None
    metric: str = ""
    o: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_subset(self.fraction, self.per_class, self.images)

    @property
    def size(self) -> int:
        """Side of a training crop, in pixels."""
        return self.image_size

    @property
    def canvas_size(self) -> int:
        """To which side images are reduced; masks are of whole images: none is reduced unless it is asked for."""
        from ssl_seg.data.canvases import WHOLE

        return self.canvas or WHOLE


FinetuneConfig = ClassificationConfig | SegmentationConfig
RunConfig = PretrainConfig | FinetuneConfig
