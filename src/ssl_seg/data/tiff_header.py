"""What a TIFF file says of its pixels, before they are read: how many bands, of what kind, on how many pages."""

from dataclasses import dataclass
from typing import IO, Any

from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from ssl_seg.data.levels import PixelError
from ssl_seg.errors import pluralize

_COLOURS = {
    0: 1,
    1: 1,
    2: 3,
    3: 1,
    4: 1,
    5: 4,
    6: 3,
    8: 3,
    9: 3,
    10: 3,
}  # bands, by PhotometricInterpretation
_GREY = (0, 1)
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_ALPHA = (1, 2, 999)  # of ExtraSamples: associated, unassociated, and what CorelDRAW writes for it
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_MOST_PAGES = 100_000


@dataclass(frozen=True)
class TiffHeader:
    """The first page of a TIFF file.

    Attributes:
        bands: samples of a pixel.
        colours: how many of them are colours; the rest is transparency or of unknown meaning.
        extra: ExtraSamples.
        bits: of a sample.
        kind: 1 unsigned, 2 signed, 3 floating-point.
        inverted: 0 is white.
        planes: bands lie apart, in planes of their own.
        compressed: in any way.
        alike: pages of this size, with this one; 1 unless it is grey.
    """

    bands: int
    colours: int
    extra: tuple[int, ...]
    bits: int
    kind: int
    inverted: bool
    planes: bool
    compressed: bool
    alike: int

    def __str__(self) -> str:
        kind = _KINDS.get(self.kind, "unknown")
        return f"a TIFF of {pluralize(self.bands, 'band')} of {self.bits}-bit {kind} values"

    def check(self) -> None:
        """Refuse what would be read in part, or wrongly.

        Raises:
            PixelError: bands would be dropped, or signed bytes taken for unsigned ones.
        """
        extra = self.bands - self.colours
        if extra > 1 or (extra == 1 and (not self.extra or self.extra[0] not in _ALPHA)):
            meaning = f"; the {self.bands}th is not marked as transparency" if self.bands == 4 else ""
            raise PixelError(
                f"{self.bands} bands, of which {self.colours} would be read{meaning}",
                f"-o data.bands={'1,2,3' if self.bands > 2 else '1'}, or 1-{self.bands} for all; transparency is marked "
                "by ExtraSamples=2",
            )
        if self.alike > 1:
            raise PixelError(
                f"{self.alike} pages of one band each, of which one would be read",
                f"-o data.bands=1,2,3, or 1-{self.alike} for all, or write one file per page",
            )
        if self.bits == 8 and self.kind == 2:
            raise PixelError("signed 8-bit values", "write them as unsigned: 0 to 255")
        if self.planes and self.compressed and self.bits == 16 and self.colours > 1:
            raise PixelError(
                "16-bit bands in separate compressed planes",
                "gdal_translate -co INTERLEAVE=PIXEL IN.tif OUT.tif",
            )


def read_tiff_header(file: IO[bytes]) -> TiffHeader | None:
    """The header of a TIFF file, which may be at any position; None if it is no TIFF or too damaged to say."""
    try:
        found = _first_page(file)
        return _header(found[0], file, found[1]) if found else None
    except Exception:  # Pillow raises many kinds, and says by itself what is wrong with the file
        return None
    finally:
        file.seek(0)


def first_tags(file: IO[bytes]) -> ImageFileDirectory_v2 | None:
    """The tags of the first page of a TIFF file; None if it is no TIFF or too damaged to say."""
    try:
        found = _first_page(file)
    except Exception:  # likewise
        return None
    finally:
        file.seek(0)
    return found[0] if found else None


def _first_page(file: IO[bytes]) -> tuple[ImageFileDirectory_v2, int] | None:
    """Its tags, and where they lie; None if the file is no TIFF."""
    file.seek(0)
    start = file.read(8)
    if start[:4] not in PREFIXES:
        return None
    tags = ImageFileDirectory_v2(start + file.read(8) if start[2:4] in (b"+\0", b"\0+") else start)
    offset = tags.next
    _load(tags, file)
    return tags, offset


def _load(tags: ImageFileDirectory_v2, file: IO[bytes]) -> None:
    file.seek(tags.next)
    tags.load(file)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _header(tags: ImageFileDirectory_v2, file: IO[bytes], offset: int) -> TiffHeader:
    photometric = _first(tags.get(262, 0))
    bands, bits = _first(tags.get(277, 1)), _first(tags.get(258, 1))
    extra = tags.get(338, ())
    header: dict[str, Any] = {
        "bands": bands,
        "colours": _COLOURS.get(photometric, 1),
        "extra": extra if isinstance(extra, tuple) else (extra,),
        "bits": bits,
        "kind": _first(tags.get(339, 1)),
        "inverted": photometric == 0 and 262 in tags,
        "planes": _first(tags.get(284, 1)) == 2,
        "compressed": _first(tags.get(259, 1)) != 1,
    }
    grey = bands == 1 and bits > 1 and photometric in _GREY  # pages of one bit are text
    return TiffHeader(**header, alike=_pages_alike(tags, file, offset) if grey else 1)


def _pages_alike(tags: ImageFileDirectory_v2, file: IO[bytes], offset: int) -> int:
    """Pages of one band and the size of the first; reduced copies and masks are none."""
    size, count, seen = (tags[256], tags[257]), 1, {offset}
    while tags.next and tags.next not in seen and len(seen) < _MOST_PAGES:
        seen.add(tags.next)
        _load(tags, file)
        is_page = not _first(tags.get(254, 0)) & _REDUCED_OR_MASK
        count += is_page and (tags.get(256), tags.get(257), _first(tags.get(277, 1))) == (*size, 1)
    return count
