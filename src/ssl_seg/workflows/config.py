"""The settings of a run, in the order in which `run.toml` has them; nothing changes them, a change makes new ones.

They are the parameters of the commands of the same names, with the same defaults; `o` holds the options of
components: `{"ssl": {"decay": "0.99"}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from ssl_seg.errors import UsageError

AUTO = 0  # the batch size that is to be found

Options = Mapping[str, Mapping[str, str]]
Schedule = Literal["cosine", "constant", "poly"]


# the order of run.toml, over all workflows, which is that of the commands' parameters
_ORDER = """
data ssl train val extra extra_weight fraction per_class images subset_seed allow_overlap backbone init prefix freeze head
epochs batch_size image_size any_size augment passes mixup label_smoothing keep_features
loss class_weights exclude watch watch_epochs val_every
optimizer lr lr_end backbone_lr layer_decay weight_decay weight_decay_end warmup schedule momentum betas clip ema accumulate
max_steps max_time early_stop seed precision deterministic compile cuda_graph sync_batchnorm device probe probe_every on_collapse
bad_images canvas cache save_every track metric o
""".split()  # noqa: SIM905


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The settings that all workflows share, and what they can do."""

    backbone: str | None = None
    init: str | None = None
    prefix: str | None = None
    epochs: int = 100
    batch_size: int = 64
    optimizer: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    accumulate: int = 1
    max_steps: int | None = None
    max_time: str | None = None
    early_stop: str | None = None
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False
    compile: bool = False
    cuda_graph: bool = False
    sync_batchnorm: Literal["all", "node", "off"] = "all"
    device: str = "auto"
    bad_images: Literal["stop", "skip"] = "stop"
    canvas: int = 0
    cache: str | None = None
    save_every: int = 0
    track: str | None = None
    o: Options = field(default_factory=dict)
    dry_run: bool = False  # is not recorded: it leaves no run

    def settings(self) -> dict[str, Any]:
        """By their names, in order; what is recorded of them."""
        recorded = ((name, vars(self)[name]) for name in _ORDER if name in vars(self))
        return dict(recorded)

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
        rest = {name: own for name, own in self.o.items() if options or name != part}
        return replace(self, o={**rest, **({part: dict(options)} if options else {})})


@dataclass(frozen=True, kw_only=True)
class _FinetuneSettings:
    """The settings that `classify` and `segment` share besides: of labelled images and of a model.

    Raises:
        UsageError: several settings say how many labelled images are used, or none of the images are left.
    """

    train: str = ""
    val: str | None = None
    extra: str | None = None
    extra_weight: float | None = None
    fraction: float | None = None
    per_class: int | None = None
    images: int | None = None
    subset_seed: int | None = None
    allow_overlap: bool = False
    freeze: bool = False
    backbone_lr: float | None = None
    layer_decay: float | None = None
    clip: float = 0.0
    ema: float | None = None
    metric: str = ""

    def __post_init__(self) -> None:
        requested = {"--fraction": self.fraction, "--per-class": self.per_class, "--images": self.images}
        named = [flag for flag, value in requested.items() if value is not None]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} exclude each other", next="one of them")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise UsageError(
                f"--fraction must be above 0 and at most 1, got {self.fraction}", next="--fraction 0.1"
            )
        if self.extra_weight is not None and not self.extra_weight > 0:
            what = f"--extra-weight must be above 0, got {self.extra_weight:g}"
            raise UsageError(what, next="--extra-weight 0.5")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(_Settings):
    """Settings of `train`."""

    data: str = ""
    ssl: str = "byol"
    image_size: int = 128
    lr_end: float | None = None
    weight_decay_end: float | None = None
    schedule: Schedule | None = None
    momentum: float | None = None
    betas: str | None = None
    clip: float | None = None
    probe: str | None = None
    probe_every: int = 1
    on_collapse: Literal["stop", "ignore"] = "stop"

    @property
    def size(self) -> int:
        """Side of what the network sees, in pixels."""
        return self.image_size

    @property
    def canvas_size(self) -> int:
        """To which side images are reduced before anything else, in pixels."""
        return self.canvas or 2 * self.size


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(_FinetuneSettings, _Settings):
    """Settings of `classify`."""

    head: str = "linear"
    image_size: int | None = None
    any_size: bool = False
    augment: Literal["none", "light", "strong"] = "light"
    passes: int = 0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    keep_features: int = 2000
    schedule: Schedule = "cosine"

    @property
    def size(self) -> int:
        """Side of what the network sees, in pixels."""
        return self.image_size or 128

    @property
    def canvas_size(self) -> int:
        """To which side images are reduced before anything else, in pixels."""
        return self.canvas or 2 * self.size


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(_FinetuneSettings, _Settings):
    """Settings of `segment`."""

    any_size: ClassVar[bool] = True  # of what the weights were trained at says nothing on whole images
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
    schedule: Schedule = "poly"

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
