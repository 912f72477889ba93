"""What a backbone starts from: a run, a weight file, published weights, or nothing; and what that decides."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.code_names import refuse_code, same_name
from ssl_seg.utils.text import shown

if TYPE_CHECKING:
    from ssl_seg.base import Backbone
    from ssl_seg.weights.backbone_file import LoadResult
    from ssl_seg.weights.published import PublishedWeights
    from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig, SegmentationConfig

Note = Callable[[str, Mapping[str, Any]], None]
R = TypeVar("R", "PretrainConfig", "ClassificationConfig", "SegmentationConfig")


def _ignore(part: str, values: Mapping[str, Any]) -> None:
    """Note nothing."""


@dataclass(frozen=True)
class InitWeights:
    """Where the weights come from, and what they decide where the user has not.

    Attributes:
        path: of the weights, or their name; None starts from scratch.
        backbone, options: the network's name and its options.
        image_size: in pixels.
        normalization: `mean` and `std` that the weights were trained with.
        pixels: how images were read then, as options of datasets: `range` and `bands`, as far as stated.
        prefix: of the set of tensors that is taken, where the file has several.
        canvas, precision: of the run that trained them, at the same image size, if stated.
    """

    path: "Path | PublishedWeights | None"
    backbone: str
    options: Mapping[str, str]
    image_size: int
    normalization: dict[str, Any]
    pixels: Mapping[str, str] = field(default_factory=dict)
    prefix: str | None = None
    canvas: int | None = None
    precision: str | None = None

    def applied_to(self, config: R) -> R:
        """The settings with the backbone, its options, the image size and the bands that the weights decide."""
        found = replace(config, backbone=self.backbone, image_size=self.image_size)
        own = config.o.get("data", {})
        if not self.pixels.keys() <= own.keys():
            found = found.with_options("data", {**self.pixels, **own})
        return found.with_options("backbone", self.options)

    @property
    def stated_normalization(self) -> dict[str, Any] | None:
        """`normalization`, unless there are no weights that were trained with it."""
        return None if self.path is None else self.normalization

    def load(self, backbone: "Backbone", print_line: Callable[[str], None], note: Note = _ignore) -> None:
        """Load all weights, or none.

        Args:
            backbone: gets them in place.
            print_line: says what was loaded.
            note: is given `init`, and what `run.toml` says of the weights.

        Raises:
            WeightsError: they do not fit, or cannot be downloaded.
        """
        if self.path is None:
            return
        from ssl_seg.weights.backbone_file import load_backbone

        result = load_backbone(self.path, backbone, self.prefix)
        noted = self._noted(result)
        print_line(f"{self.path}: {result}")
        if license := noted.get("license"):
            print_line(f"license of the weights: {shown(license)}")
        note("init", noted)

    def _noted(self, result: "LoadResult") -> dict[str, Any]:
        """Which file it was, and how the weights want their images."""
        assert result.file is not None
        with result.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        folder, stated = result.file.parent, result.metadata
        revision = folder.name if folder.parent.name == "snapshots" else None  # in the cache of the hub
        found = {"weights": str(self.path), "file": result.file.name, "revision": revision, "sha256": digest}
        found |= {"image_size": stated.get("image_size"), "license": stated.get("license")}
        return {key: value for key, value in (found | self.normalization).items() if value is not None}


def init_of_pretraining(config: "PretrainConfig") -> InitWeights:
    """`--init` of `ssl-seg train`, which may go on at another image size than the weights were trained at."""
    return resolve_init_weights(
        config.init,
        backbone=config.backbone,
        options=config.o.get("backbone", {}),
        image_size=config.image_size,
        any_size=True,
        prefix=config.prefix,
    )


def resolve_init_weights(
    init: "str | Path | PublishedWeights | None",
    *,
    backbone: str | None,
    options: Mapping[str, str],
    image_size: int | None,
    any_size: bool = False,
    prefix: str | None = None,
) -> InitWeights:
    """Look at `--init`, and let it decide what the user left open: backbone, its options, image size.

    Args:
        init: a run's folder, a weight file, or a name as `timm:resnet50.a1_in1k`.
        backbone, image_size: None where they are open.
        options: of the backbone, as the user gave them.
        any_size: the weights may have been trained at another image size.
        prefix: of the set of tensors that is taken, where the file has several.

    Raises:
        UsageError: a prefix without weights.
        WeightsError: the weights were trained at another image size than the one asked for, or their file asks
            for code of which nobody has typed the name.
    """
    from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
    from ssl_seg.weights.backbone_file import read_metadata
    from ssl_seg.weights.publishers import find_weights
    from ssl_seg.workflows.data import pixel_options

    if prefix is not None and not init:
        raise UsageError("--prefix chooses among the weights of --init", next="--init FILE --prefix teacher")
    path = None if init is None or init == "" else find_weights(init)
    metadata: Mapping[str, Any] = read_metadata(path) if path else {}
    named: str = metadata.get("backbone", "resnet50")
    if backbone is None:
        refuse_code(named, "backbones", path)
        backbone = named
    if "backbone" in metadata and same_name(backbone, named) and (own := metadata.get("options")):
        options = {key: value for key, value in own.items() if key not in options} | dict(options)
    trained_at = metadata.get("image_size")
    if image_size is None:
        image_size = trained_at or 128
    elif trained_at and image_size != trained_at and not any_size:
        raise WeightsError(
            f"the weights were trained at {trained_at} px, and --image-size is {image_size}",
            where=str(path),
            next=f"--image-size {trained_at}, or --any-size to use them at another size",
        )
    mean, std = metadata.get("mean", IMAGENET_MEAN), metadata.get("std", IMAGENET_STD)
    return InitWeights(
        path,
        backbone,
        options,
        image_size,
        {"mean": tuple(mean), "std": tuple(std)},
        pixel_options(metadata),
        prefix,
        metadata.get("canvas") if image_size == trained_at else None,
        metadata.get("precision"),
    )
