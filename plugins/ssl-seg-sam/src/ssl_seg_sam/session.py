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
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.outputs import output_path, output_paths, refuse_inputs
from ssl_seg.utils.progress import Console
from ssl_seg.utils.text import shown
from ssl_seg_sam import mask_generation, prompts
from ssl_seg_sam.image_source import Album
from ssl_seg_sam.drawing import overlay
from ssl_seg_sam.model import Sam, load_sam
from ssl_seg_sam.metrics import Numbers
from ssl_seg_sam.runs import SegmentRun
from ssl_seg_sam.segments import Segment, flatten
from ssl_seg_sam.output import write_npz, write_png

if TYPE_CHECKING:
    from torch import Tensor

_ENDINGS = (".png", "_masks.npz")  # of what is written for an image


@dataclass(frozen=True)
class Wish:
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
            raise UsageError("--point, --box and --prompt points or boxes: one of them at a time")

    @property
    def everything(self) -> bool:
        """Whether the grid is asked."""
        return not (self.point or self.box) and self.prompt == "grid"

    @property
    def rules(self) -> mask_generation.Rules:
        """Those of the grid."""
        return mask_generation.Rules(self.points, self.tile, self.quality, self.stability)

    @property
    def kind(self) -> Literal["--box", "--point"]:
        """What the prompts are, if it is not the grid."""
        return "--box" if self.box or self.prompt == "boxes" else "--point"


class Session:
    """Makes the segments of images, draws and measures them.

    Args:
        album: the images.
        run: whose they are, if of one.
        wish: what to do.
        numbers: measures them.
        out: the folder that is filled.
    """

    def __init__(self, album: Album, run: SegmentRun | None, wish: Wish, numbers: Numbers, out: Path) -> None:
        self._album, self._run, self._wish = album, run, wish
        self._numbers, self._out = numbers, out
        self._given = prompts.read_places(wish.box or wish.point, wish.kind)
        self._entries: list[dict[str, Any]] = []
        self._done = 0
        self.stop, self.console = SignalHandler(), Console()

    def go(self, rows: Sequence[int], precision: Literal["auto", "bf16", "fp32"], *, cpu: bool) -> list[str]:
        """Work through the images; what is done stays when a later one fails.

        Returns:
            The table of numbers, line by line.
        """
        from ssl_seg.engine.device import Device

        names = self._names(rows)
        if self._run and not (self._wish.everything or len(self._given)):
            for name in names:
                self._run.predicted(name)  # to know now, and not after the first images
        with self.stop, self.console:
            for note in self._numbers.notes:
                self.console.say(note)
            sam = load_sam(self._wish.model, Device(precision, cpu=cpu), self._wish.batch)
            for row, name in zip(rows, names, strict=True):
                self._one(sam, row, name, len(rows))
            for warning in self._numbers.warnings():
                self.console.say(f"warning: {warning}")
        return [*self._numbers.table(self._entries), f"written: {shown(str(self._out / 'sam.json'))}"]

    def _names(self, rows: Sequence[int]) -> list[str]:
        """What is written for an image begins so.

        Raises:
            UsageError: no images, or a place that cannot be written to; see `output_paths`.
        """
        if not rows:
            raise UsageError("the run watched no images: name some", next="--images NAME,NAME")
        names, album = [self._album.short(row) for row in rows], self._album
        for ending in _ENDINGS:
            owners = [album.files[row] for row in rows]
            paths = output_paths(self._out, [f"{name}{ending}" for name in names], owners)
            refuse_inputs(paths, album.inputs)
        return names

    def _one(self, sam: Sam, row: int, name: str, images: int) -> None:
        image = self._album.image(row)
        height, width = image.shape[:2]
        label = self._label(row, name, (height, width))
        segments = self._segments(sam, image, name, images)
        index = flatten(segments, height, width)
        picture, arrays = (output_path(self._out, f"{name}{ending}") for ending in _ENDINGS)
        write_png(picture, overlay(image, index))
        write_npz(arrays, index, segments)
        file, covered = self._album.files[row], float((index > 0).mean())
        entry = {"name": name, "file": file, "width": width, "height": height, "segments": len(segments)}
        entry |= {"coverage": covered, **self._numbers.of(file, index, label)}
        self._entries.append(entry)
        self._write()
        scored = "" if entry["agreement"] is None else f", agreement {entry['agreement']:.4f}"
        self.console.say(f"{shown(name)}: {len(segments)} segments on {covered:.1%} of the image{scored}")

    def _label(self, row: int, name: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        if not self._album.classes:
            return None
        try:
            label = self._album.label(row)
            if label.shape != size:
                raise ValueError("image and label map differ in size")
        except ValueError as error:
            self.console.say(f"{shown(name)}: no agreement: {error}")
            return None
        return label

    def _segments(self, sam: Sam, image: NDArray[np.uint8], name: str, images: int) -> list[Segment]:
        wish, total = self._wish, images
        if wish.everything:
            total *= mask_generation.batches_of(image.shape[0], image.shape[1], wish.rules, sam.batch)
            found = mask_generation.everything(sam, image, wish.rules, lambda: self._tick(total))
            if not found:
                limits = f"--quality {wish.quality:g} and --stability {wish.stability:g}"
                self.console.say(f"{shown(name)}: no mask passed {limits}")
            return found
        places = self._places(image, name)
        if not len(places):
            return []
        total *= -(-len(places) // sam.batch)
        given = {"boxes" if wish.kind == "--box" else "points": places}
        found = mask_generation.prompted(sam, image, wish.tile, lambda: self._tick(total), **given)
        if empty := len(places) - len(found):
            self.console.say(f"{shown(name)}: {empty} of {len(places)} prompts gave an empty mask")
        return found

    def _places(self, image: NDArray[np.uint8], name: str) -> "Tensor":
        """Boxes or points for an image: those of the command line, or of what the run predicted."""
        if len(self._given):
            prompts.check_places(self._given, self._wish.kind, shown(name), *image.shape[:2])
            return self._given
        assert self._run is not None
        mask = self._run.predicted(name)
        if mask.shape != image.shape:
            sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, the image {image.shape[1]} x {image.shape[0]}"
            raise UsageError(f"the run's mask of {shown(name)} has {sizes}")
        boxes, points = prompts.regions(mask, self._run.nothing)
        return boxes if self._wish.kind == "--box" else points

    def _tick(self, total: int) -> None:
        self._done += 1
        self.console.predicting(min(self._done, total), total)
        if self.stop.signal:
            raise Stopped(self.stop.signal, kept=f"{len(self._entries)} images in {self._out}")

    def _write(self) -> None:
        wish, album = asdict(self._wish), self._album
        about = {"model": wish.pop("model"), "settings": wish, "images": self._entries}
        about |= {"all": self._numbers.all(), "classes": list(album.classes), "exclude": list(album.exclude)}
        # in ASCII: a file's name may be no Unicode
        replace_text(self._out / "sam.json", json.dumps(about, indent=1) + "\n")
