"""What a segmentation run keeps of the images it watches: `masks.json` and the pictures below `masks/`."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.canvases import WHOLE
from ssl_seg.data.decode import read_image
from ssl_seg.data.mask_files import MaskReader
from ssl_seg.data.palettes import UNKNOWN_CLASS, Palette
from ssl_seg.errors import DataError, UsageError
from ssl_seg.results.iou import image_iou
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.utils.text import split_names
from ssl_seg.utils.toml import read_json, read_toml

EXTREMES = "extremes"  # folder of a run; in it, `masks.json` and `masks/` of its hardest and easiest images
_NEXT_STEP = "ssl-seg segment ... --watch 0013,0062  # saves the predicted masks of these validation images"


@dataclass(frozen=True)
class MaskSnapshots:
    """The watched images of one run; they are read when they are asked for.

    Attributes:
        folder: of the run.
        palette: classes, their colours, and those excluded from the mean.
        ignore_excluded: whether pixels of an excluded class do not count at all.
        epochs: whose masks were kept, ascending.
        names: of the images, as `0013_mask.png`: the file's name below each folder.
        suffix: how the names end, without `.png`.
    """

    folder: Path
    palette: Palette
    ignore_excluded: bool
    epochs: list[int]
    names: list[str]
    suffix: str

    def image(self, name: str, canvas: int = WHOLE) -> NDArray[np.uint8]:
        """(h, w, 3) RGB, reduced to fit a square of side `canvas`.

        Raises:
            ValueError: it is missing or cannot be read; the text says which.
        """
        return read_image(self._path("images", name), canvas)[0]

    def target(self, name: str) -> NDArray[np.uint8]:
        """(H, W) true classes, 255 where there is none.

        Raises:
            ValueError: see `image`.
        """
        return self._mask("labels", name, IGNORE_INDEX)

    def prediction(self, epoch: int, name: str) -> NDArray[np.uint8]:
        """(H, W) what was predicted.

        Raises:
            ValueError: see `image`.
        """
        return self._mask(epoch_dir(epoch), name, UNKNOWN_CLASS)

    def iou(self, prediction: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
        """See `image_iou`.

        Raises:
            ValueError: the two differ in size, or two classes have one colour.
        """
        if target.shape != prediction.shape:
            raise ValueError("target and prediction differ in size")
        if len(set(self.palette.colours)) < len(self.palette.colours):
            raise ValueError("two classes have the same color")
        scored_classes = np.array([name not in self.palette.exclude for name in self.palette.names])
        return image_iou(prediction, target, scored_classes, ignore_excluded=self.ignore_excluded)

    def title(self, name: str) -> str:
        """`0013_mask.png` -> `0013`."""
        path = PurePath(name)
        return path.with_name(path.stem.removesuffix(self.suffix) or path.stem).as_posix()

    def _mask(self, folder: str, name: str, other: int) -> NDArray[np.uint8]:
        return MaskReader(self.palette, unknown_class=other).read(self._path(folder, name))

    def _path(self, folder: str, name: str) -> Path:
        path = self.folder / "masks" / folder / name
        if not path.is_file():
            raise ValueError("missing")
        return path


def epoch_dir(epoch: int) -> str:
    """Where the masks of an epoch lie, below `masks/`."""
    return f"epoch-{epoch:04d}"


def read_mask_snapshots(run: Path, *, extremes: bool = False) -> MaskSnapshots:
    """What a run has kept so far: of the watched images, or of its hardest and easiest ones.

    Raises:
        DataError: no run, one that watches nothing, or one that has not kept anything yet.
    """
    if not run.is_dir():
        raise DataError(f"run folder not found: {run}")
    folder = run / EXTREMES if extremes else run
    if not (folder / "masks.json").is_file():
        raise DataError(f"{folder} has no saved masks (run without --watch)", next=_NEXT_STEP)
    warn_of_damage(run)
    palette, suffix = _read_palette(folder / "masks.json")
    scored_classes = {
        kind.name: {path.relative_to(kind).as_posix() for path in kind.rglob("*.png")}
        for kind in (folder / "masks").glob("*")
    }
    epochs = [
        int(name[6:])
        for name, files in scored_classes.items()
        if re.fullmatch(r"epoch-\d{4,}", name) and files
    ]
    if not epochs:
        raise DataError(f"{folder} has no saved masks yet", next="they are written at the end of an epoch")
    names = sorted(set().union(*scored_classes.values()))
    return MaskSnapshots(folder, palette, _ignores_excluded(run), sorted(epochs), names, suffix)


def _read_palette(path: Path) -> tuple[Palette, str]:
    try:
        metadata = read_json(path)
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in metadata["colours"])
        names = tuple(map(str, metadata["classes"]))
        if wrong := [colour for colour in colours if not all(0 <= part <= 255 for part in colour)]:
            raise ValueError(f"invalid color {wrong[0]}")
        if not len(names) == len(colours) > 0:
            raise ValueError(f"{len(names)} classes, but {len(colours)} colors")
        palette = Palette(names, colours, exclude=tuple(metadata["exclude"]), source=str(path))
        return palette, str(metadata.get("mask_suffix", ""))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _ignores_excluded(folder: Path) -> bool:
    """What the run's `-o metric.lenient` says; the numbers here shall be those of its scores."""
    path = folder / "run.toml"
    options: dict[str, Any] = read_toml(path).get("o", {}) if path.is_file() else {}
    return TypeAdapter(bool).validate_python(options.get("metric", {}).get("lenient", False))


def snapshot_epochs(text: str, epochs: int) -> set[int]:
    """`1,10,50` as numbers; by default the first, the middle and the last.

    Raises:
        UsageError: no epoch of the run.
    """
    words = split_names(text)
    if not words:
        return {1, (epochs + 1) // 2, epochs}
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= epochs:
            raise UsageError(f"--watch-epochs: expected epochs from 1 to {epochs}, got {word!r}")
    return set(map(int, words))
