"""Masks that are drawn from annotations, or from a file for each class."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.files import FileDataset
from ssl_seg.data.label_maps import apply_map
from ssl_seg.data.mask_files import MaskReader
from ssl_seg.data.mask_sources import cache_key
from ssl_seg.data.palette_text import read_palette
from ssl_seg.data.palettes import MAX_CLASSES, Palette, voc_colormap
from ssl_seg.data.rasters import Layer, Overlap, Shape, stack
from ssl_seg.errors import DataError, UsageError, did_you_mean

Background = Literal["class", "ignore"]

BACKGROUND = "background"


class DrawnMasks:
    """The layers of each image, one on the other; see `MaskSource`.

    Args:
        draw: number of an image -> its height and width, and its layers.
        named: the name of each, for messages.
        identify: text that changes with its layers.
        legend: which value is which class.
        overlap: see `stack`.
        files: from which layers are read, if there is one for each image.
    """

    def __init__(
        self,
        draw: Callable[[int], tuple[Shape, list[Layer]]],
        named: Callable[[int], str],
        identify: Callable[[int], str],
        legend: "Legend",
        overlap: Overlap,
        files: FileDataset | None = None,
    ) -> None:
        self._draw, self.name, self._identify, self.files = draw, named, identify, files
        self.reader, self._background, self._overlap = legend.reader, legend.background, overlap
        self.description = f"{legend.description}; of overlapping ones "
        self.description += {
            "smaller": "the smaller is on top",
            "last": "the last is on top",
            "ignore": "the common pixels are ignored",
        }[overlap]
        self._key = f"drawn {overlap} {self._background} {cache_key(self.reader)}"

    def read(self, index: int) -> NDArray[np.uint8]:
        """See `MaskSource`."""
        shape, layers = self._draw(index)
        return self.reader.classes_of(stack(layers, shape, self._background, self._overlap))

    def identity(self, index: int) -> str:
        """See `MaskSource`."""
        return f"{self._identify(index)}\0{self._key}"


class Legend:
    """Which values are drawn, and which classes they are.

    Args:
        found: names of the classes in the annotations, in order.
        what: the annotations, for people.
        classes: those that are used, in order; None: all that were found.
        map: of classes, see `apply_map`.
        default: a palette's text, whose classes are used if they are or hold those that were found.
        background: what pixels in no annotation are: the class `background`, or no class.

    Attributes:
        values: by the names of the classes.
        background: the value of pixels in none.
        reader: makes classes of values.
        description: a line on that.

    Raises:
        UsageError: see `apply_map`. DataError: no class, too many, or one twice.
    """

    def __init__(
        self,
        found: Sequence[str],
        what: str,
        *,
        classes: Sequence[str] | None,
        map: str | None,
        default: str | None,
        background: Background,
    ) -> None:
        names = list(classes or _known(found, default) or found)
        if background == "class" and BACKGROUND not in names:
            names.insert(0, BACKGROUND)
        if not names or len(names) > MAX_CLASSES or len(set(names)) < len(names):
            twice = next((name for name in names if names.count(name) > 1), None)
            fault = (
                f"{twice!r} is there twice" if twice else f"a mask holds 1 to {MAX_CLASSES}, not {len(names)}"
            )
            raise DataError(f"the classes of {what}: {fault}", next="-o data.classes=cat,dog  # those to use")
        self.values = {name: value for value, name in enumerate(names)}
        self.background = self.values[BACKGROUND] if background == "class" else IGNORE_INDEX
        palette = Palette(
            tuple(names), voc_colormap(len(names)), source=what, by="indices", void_values=(IGNORE_INDEX,)
        )
        palette = apply_map(map, palette) if map else palette
        self.reader = MaskReader(palette, "indices")
        others = "background" if background == "class" else "ignored"
        self.description = f"drawn from {what}; pixels in none are {others}"

    def value(self, name: str, *, ignore_unknown: bool) -> int | None:
        """The value of a class; None where it is to be left out.

        Raises:
            DataError: there is no such class, and it is not left out.
        """
        if name not in self.values and not ignore_unknown:
            raise DataError(
                f"class {name!r} is not one of {', '.join(self.values)}{did_you_mean(name, self.values)}",
                next="-o data.stray=ignore  # leave its annotations out; or name it in -o data.classes",
            )
        return self.values.get(name)


def _known(found: Sequence[str], default: str | None) -> list[str] | None:
    """The classes of the training masks, if they hold all that were found."""
    names = list(read_palette(default).names) if default else []
    return names if set(found) <= set(names) else None


def no_images(what: str, missing: Sequence[str], folder: str) -> DataError:
    """Images of annotations that are not there."""
    return DataError(
        f"{len(missing)} images of {what} are not in {folder}",
        where=", ".join(missing[:5]),
        next="-o data.images=FOLDER",
        faults=[(name, "annotated, but not there") for name in missing],
    )


def check_unique(names: Sequence[str], what: str) -> None:
    """See that no image is annotated twice.

    Raises:
        UsageError: one is.
    """
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UsageError(f"{what} lists {twice} twice", next="merge its annotations")
