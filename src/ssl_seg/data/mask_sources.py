"""Where the masks of a dataset come from, and how they are read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.files import FileDataset
from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.data.label_maps import apply_map
from ssl_seg.data.mask_coding import detect_encoding
from ssl_seg.data.mask_files import MaskReader
from ssl_seg.data.palette_text import read_palette
from ssl_seg.data.palettes import Palette
from ssl_seg.data.side_files import NAMES
from ssl_seg.errors import UsageError

Stray = Literal["stop", "ignore", "unknown"]


class MaskSource(Protocol):
    """Masks by the number of their image.

    Attributes:
        reader: how values become classes. description: a line on that, and why.
        files: the masks, or what they are drawn from, as a list of files; None where there is no file for each.
    """

    reader: MaskReader
    description: str
    files: FileDataset | None

    def read(self, index: int) -> NDArray[np.uint8]:
        """The class of every pixel, (H, W), 255 where there is none.

        Raises:
            ValueError: it cannot be read, or has a value that is no class; the text says why.
        """

    def name(self, index: int) -> str:
        """What messages call a mask."""

    def identity(self, index: int) -> str:
        """Text that changes whenever the mask changes."""


class MaskFiles:
    """A file for each mask.

    Args:
        root: their folder. names: of the files, relative to it.
        reader, description: see `MaskSource`.
    """

    def __init__(self, root: Path, names: Sequence[str], reader: MaskReader, description: str) -> None:
        self.files: FileDataset | None = FileDataset(root, ((name, -1) for name in names))
        self._root = root
        self.reader, self.description, self._key = reader, description, cache_key(reader)

    def read(self, index: int) -> NDArray[np.uint8]:
        """See `MaskSource`."""
        return self.reader.read(self._root / self.name(index))

    def name(self, index: int) -> str:
        """Relative to the folder of all."""
        assert self.files is not None
        return self.files.samples[index][0]

    def identity(self, index: int) -> str:
        """Changes with the file, and how it is read."""
        assert self.files is not None
        return f"{self.files.identity(index)}\0{self._key}"


def cache_key(reader: MaskReader) -> str:
    """Text that changes with how masks are read."""
    palette = reader.palette
    coding: tuple[object, ...] = (
        reader.encoding,
        reader.threshold_channels,
        reader.unknown_class,
        palette.colours,
        palette.void,
    )
    if reader.ids or palette.void_values:
        coding = (*coding, reader.ids, palette.void_values)
    return repr((*coding, palette.aliases) if palette.aliases else coding)


def find_reader(
    root: Path,
    names: Sequence[str],
    palette: Palette | None,
    *,
    ignore: Sequence[int] | None,
    bits: bool,
    stray: Stray,
) -> MaskFiles:
    """Masks in files, read by a palette or by what they hold; see `detect_encoding`."""
    reader, description = detect_encoding(
        [root / name for name in names], palette, void=ignore or (), bits=bits
    )
    return MaskFiles(root, names, with_unknown_class(reader, stray), description)


def read_palettes(base: Path, palette: str | None, map: str | None, default: str | None) -> Palette | None:
    """The palette that options name, else that of a file in a folder or above it, else the default; mapped.

    A default is that of the training masks, and already mapped.
    """
    if map in NAMED_PALETTES and palette is None:
        palette, map = map, None
    near = (folder / name for folder in (base, base.parent) for name in NAMES)
    text = palette or next((str(path) for path in near if path.is_file()), None)
    if map is not None:
        return apply_map(map, read_palette(text) if text else None)
    text = text or default
    return read_palette(text) if text else None


def with_unknown_class(reader: MaskReader, stray: Stray) -> MaskReader:
    """A reader that reads values that are no class as `stray` says.

    Raises:
        UsageError: as the void class of a palette that has none.
    """
    value = {"stop": None, "ignore": IGNORE_INDEX, "unknown": reader.palette.none}[stray]
    if stray == "unknown" and value is None:
        raise UsageError(f"stray=unknown: the palette ({reader.palette.source}) has no void class")
    return replace(reader, unknown_class=value)
