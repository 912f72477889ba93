"""A run of `ssl-seg segment`: its images, wherever they are still to be had, and what it predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.errors import DataError, SslSegError, UsageError
from ssl_seg_sam.agreement import IGNORE_INDEX
from ssl_seg_sam.image_source import DatasetImages, ImageSource, open_images


class SnapshotImages(ImageSource):
    """The watched images that a run has kept, for when its data are not there.

    The run has painted pixels without a class black: where a class is black, they are taken for it.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self._folder = folder
        self.files = sorted(
            path.relative_to(folder / "images").as_posix() for path in folder.glob("images/**/*.png")
        )
        self.names, self.inputs = self.files, [folder / "images" / name for name in self.files]
        self.suffix, self.classes = metadata["mask_suffix"], metadata["classes"]
        self.exclude, self._colours = metadata["exclude"], metadata["colours"]

    def image(self, row: int) -> NDArray[np.uint8]:
        return read_png(self._folder / "images" / self.files[row])

    def label(self, row: int) -> NDArray[np.uint8]:
        path = self._folder / "labels" / self.files[row]
        if not path.is_file():
            raise ValueError("the run has no saved target mask of it")
        painted = read_png(path)
        label = np.full(painted.shape[:2], IGNORE_INDEX, dtype=np.uint8)
        for index, colour in enumerate(self._colours):
            label[(painted == np.array(colour, dtype=np.uint8)).all(axis=2)] = index
        return label


@dataclass(frozen=True)
class SegmentRun:
    """A run of `ssl-seg segment`.

    Attributes:
        folder: of the run.
        config: what is in its `run.toml`.
        metadata: what is in its `masks.json`; nothing if it watched no image.
    """

    folder: Path
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "SegmentRun":
        """Read what a run says of itself.

        Raises:
            UsageError: it is no run of `ssl-seg segment`.
            DataError: its `masks.json` is damaged.
        """
        from ssl_seg.utils.toml import read_json, read_toml

        config = read_toml(folder / "run.toml")
        command = config.get("record", {}).get("command", "")
        if command != "segment":
            raise UsageError(f"{folder} is a run of `ssl-seg {command}`; expected one of `ssl-seg segment`")
        path, metadata = folder / "masks.json", {}
        if path.is_file():
            try:
                metadata = read_json(path)
                {
                    key: metadata[key]
                    for key in ("classes", "colours", "exclude", "image_suffix", "mask_suffix")
                }
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} is corrupt: {error}") from error
        return cls(folder, config, metadata)

    @property
    def watched(self) -> list[str]:
        """The names of its watched images."""
        return [name for word in self.config.get("watch", "").split(",") if (name := word.strip())]

    def image_source(self, options: Mapping[str, str]) -> tuple[ImageSource, str]:
        """Its validation images, or those it has kept; and a line to say if it is the latter.

        Args:
            options: of the data, beside those it was given.

        Raises:
            DataError: neither is there.
        """
        spec, own = self.config.get("val"), self.config.get("o", {})
        merged = {**own.get("data", {}), **own.get("val", {}), **options}
        exclude = [name for word in self.config.get("exclude", "").split(",") if (name := word.strip())]
        try:
            if not spec:
                raise UsageError("the run has no --val")
            images = open_images(spec, merged, masks=True, palette=self._palette)
            return DatasetImages(images, exclude), ""
        except SslSegError as error:
            snapshots = SnapshotImages(self.folder / "masks", self.metadata) if self.metadata else None
            if snapshots and snapshots.files:
                return (
                    snapshots,
                    f"{error.what}: the {len(snapshots.files)} saved images of {self.folder} are used",
                )
            raise DataError(
                f"the validation images of {self.folder} were not found, and it has no saved images",
                where=f"{spec}: {error.what}",
                next="ssl-seg sam FOLDER_OF_IMAGES, or ssl-seg segment ... --watch NAMES",
            ) from error

    @property
    def _palette(self) -> str:
        """How its masks were read, if it says so."""
        return str(self.config.get("record", {}).get("train", {}).get("palette", ""))

    def predicted(self, short: str) -> NDArray[np.uint8]:
        """The newest (H, W, 3) mask that the run has kept of a watched image, in colours.

        Raises:
            UsageError: it has none.
            DataError: it cannot be read.
        """
        name = f"{short}{self.metadata.get('mask_suffix', '')}.png"
        found = sorted(self.folder.glob("masks/epoch-*"))
        for epoch in reversed(found):
            if (epoch / name).is_file():
                return read_png(epoch / name)
        raise UsageError(
            f"{self.folder} has no saved prediction of {short!r}; --prompt boxes and points require it",
            next=f"ssl-seg segment ... --watch {short}, or --box LEFT,TOP,RIGHT,BOTTOM",
        )

    @property
    def excluded_colors(self) -> list[Sequence[int]]:
        """The colours of classes that do not count."""
        pairs = zip(self.metadata.get("classes", ()), self.metadata.get("colours", ()), strict=False)
        return [colour for name, colour in pairs if name in self.metadata["exclude"]]


def read_png(path: Path) -> NDArray[np.uint8]:
    """An (H, W, 3) image that ssl-seg wrote.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise DataError(f"cannot read {path}: {error}") from error
