"""One call of `ssl-seg sam`: image by image from the prompt to what is written."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.engine.signals import SignalHandler
from ssl_seg.errors import Stopped, UsageError
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import output_path, output_paths, refuse_inputs
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.utils.text import shown
from ssl_seg_sam import mask_generation, prompts
from ssl_seg_sam.drawing import overlay
from ssl_seg_sam.image_source import ImageSource
from ssl_seg_sam.metrics import AgreementMetrics
from ssl_seg_sam.model import Sam, load_sam
from ssl_seg_sam.output import write_npz, write_png
from ssl_seg_sam.runs import SegmentRun
from ssl_seg_sam.segments import Segment, to_index_map

if TYPE_CHECKING:
    from torch import Tensor

_ENDINGS = (".png", "_masks.npz")  # of what is written for an image


@dataclass(frozen=True)
class SamConfig:
    """What was asked for; see the flags of the command.

    Raises:
        UsageError: two kinds of prompts at a time.
    """

    model: str
    prompt: Literal["grid", "points", "boxes"]
    point: tuple[str, ...]
    box: tuple[str, ...]
    points: int
    quality: float
    stability: float
    tile: int
    batch: int

    def __post_init__(self) -> None:
        if bool(self.point) + bool(self.box) + (self.prompt != "grid") > 1:
            raise UsageError("--point, --box and --prompt points or boxes: use only one")

    @property
    def uses_grid(self) -> bool:
        """Whether the grid is asked."""
        return not (self.point or self.box) and self.prompt == "grid"

    @property
    def grid(self) -> mask_generation.GridConfig:
        """Those of the grid."""
        return mask_generation.GridConfig(self.points, self.tile, self.quality, self.stability)

    @property
    def kind(self) -> Literal["--box", "--point"]:
        """What the prompts are, if it is not the grid."""
        return "--box" if self.box or self.prompt == "boxes" else "--point"


class SamRun:
    """Makes the segments of images, draws and measures them.

    Args:
        image_source: the images.
        run: whose they are, if of one.
        config: what to do.
        metrics: measures them.
        out: the folder that is filled.
    """

    def __init__(
        self,
        image_source: ImageSource,
        run: SegmentRun | None,
        config: SamConfig,
        metrics: AgreementMetrics,
        out: Path,
    ) -> None:
        self._images, self._run, self._config = image_source, run, config
        self._metrics, self._out = metrics, out
        self._typed_prompts = prompts.read_prompts(config.box or config.point, config.kind)
        self._entries: list[dict[str, Any]] = []
        self._done = 0
        self.stop, self.console = SignalHandler(), ProgressDisplay()

    def run(self, rows: Sequence[int], precision: Literal["auto", "bf16", "fp32"], *, cpu: bool) -> list[str]:
        """Work through the images; what is done stays when a later one fails.

        Returns:
            The table of numbers, line by line.
        """
        from ssl_seg.engine.device import Device

        names = self._output_names(rows)
        if self._run and not (self._config.uses_grid or len(self._typed_prompts)):
            for name in names:
                self._run.predicted(name)  # to know now, and not after the first images
        with self.stop, self.console:
            for note in self._metrics.notes:
                self.console.print_line(note)
            sam = load_sam(self._config.model, Device(precision, cpu=cpu), self._config.batch)
            for row, name in zip(rows, names, strict=True):
                self._one(sam, row, name, len(rows))
            for warning in self._metrics.warnings():
                self.console.print_line(f"warning: {warning}")
        return [*self._metrics.table(self._entries), f"written: {shown(str(self._out / 'sam.json'))}"]

    def _output_names(self, rows: Sequence[int]) -> list[str]:
        """What is written for an image begins so.

        Raises:
            UsageError: no images, or a place that cannot be written to; see `output_paths`.
        """
        if not rows:
            raise UsageError("the run has no saved images; select images", next="--images NAME,NAME")
        names, image_source = [self._images.short(row) for row in rows], self._images
        for ending in _ENDINGS:
            owners = [image_source.files[row] for row in rows]
            paths = output_paths(self._out, [f"{name}{ending}" for name in names], owners)
            refuse_inputs(paths, image_source.inputs)
        return names

    def _one(self, sam: Sam, row: int, name: str, images: int) -> None:
        image = self._images.image(row)
        height, width = image.shape[:2]
        label = self._label(row, name, (height, width))
        segments = self._segments(sam, image, name, images)
        index = to_index_map(segments, height, width)
        picture, arrays = (output_path(self._out, f"{name}{ending}") for ending in _ENDINGS)
        write_png(picture, overlay(image, index))
        write_npz(arrays, index, segments)
        file, covered = self._images.files[row], float((index > 0).mean())
        entry = {"name": name, "file": file, "width": width, "height": height, "segments": len(segments)}
        entry |= {"coverage": covered, **self._metrics.of(file, index, label)}
        self._entries.append(entry)
        self._write()
        scored = "" if entry["agreement"] is None else f", achievable mIoU {entry['agreement']:.4f}"
        self.console.print_line(
            f"{shown(name)}: {len(segments)} segments on {covered:.1%} of the image{scored}"
        )

    def _label(self, row: int, name: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        if not self._images.classes:
            return None
        try:
            label = self._images.label(row)
            if label.shape != size:
                raise ValueError("image and label map differ in size")
        except ValueError as error:
            self.console.print_line(f"{shown(name)}: no achievable mIoU: {error}")
            return None
        return label

    def _segments(self, sam: Sam, image: NDArray[np.uint8], name: str, images: int) -> list[Segment]:
        config, num_steps = self._config, images
        if config.uses_grid:
            num_steps *= mask_generation.batches_of(image.shape[0], image.shape[1], config.grid, sam.batch)
            found = mask_generation.generate_masks(
                sam, image, config.grid, lambda: self._on_progress(num_steps)
            )
            if not found:
                limits = f"--quality {config.quality:g} and --stability {config.stability:g}"
                self.console.print_line(f"{shown(name)}: no mask passed {limits}")
            return found
        prompts = self._prompts(image, name)
        if not len(prompts):
            return []
        num_steps *= -(-len(prompts) // sam.batch)
        inputs = {"boxes" if config.kind == "--box" else "points": prompts}
        found = mask_generation.segment_prompts(
            sam, image, config.tile, lambda: self._on_progress(num_steps), **inputs
        )
        if empty := len(prompts) - len(found):
            self.console.print_line(
                f"{shown(name)}: {empty} of {len(prompts)} prompts returned an empty mask"
            )
        return found

    def _prompts(self, image: NDArray[np.uint8], name: str) -> "Tensor":
        """Boxes or points for an image: those of the command line, or of what the run predicted."""
        if len(self._typed_prompts):
            prompts.check_prompts(self._typed_prompts, self._config.kind, shown(name), *image.shape[:2])
            return self._typed_prompts
        assert self._run is not None
        mask = self._run.predicted(name)
        if mask.shape != image.shape:
            sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, the image {image.shape[1]} x {image.shape[0]}"
            raise UsageError(f"size mismatch: the run's mask of {shown(name)} has {sizes}")
        boxes, points = prompts.regions(mask, self._run.excluded_colors)
        return boxes if self._config.kind == "--box" else points

    def _on_progress(self, num_steps: int) -> None:
        self._done += 1
        self.console.predicting(min(self._done, num_steps), num_steps)
        if self.stop.signal:
            raise Stopped(self.stop.signal, kept=f"{len(self._entries)} images in {self._out}")

    def _write(self) -> None:
        config, image_source = asdict(self._config), self._images
        content = {"model": config.pop("model"), "settings": config, "images": self._entries}
        content |= {
            "all": self._metrics.all(),
            "classes": list(image_source.classes),
            "exclude": list(image_source.exclude),
        }
        # in ASCII: a file's name may be no Unicode
        atomic_write_text(self._out / "sam.json", json.dumps(content, indent=1) + "\n")
