"""How pixel values of more than 8 bits become 8, and what is doubtful about that."""

import re
from dataclasses import dataclass
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssl_seg.errors import UsageError, pluralize

_SIXTEEN = 65_535
_HALF = 32_768  # values that stay below leave a bit of 16 unused
_EXAMPLE = "-o data.range=0,4095  # LOWEST,HIGHEST"
_STRAY = 0.01  # share of the values that may lie outside a stated range
_STRAY_OF_BANDS = 0.1  # of a range for each band, which percentiles leave outside on purpose


@dataclass(frozen=True)
class Percentiles:
    """A range that is to be measured: `p2,p98`, in percent of the values of each band.

    Raises:
        ValueError: not two percentiles between 0 and 100, the lower one first.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError("percentiles are two numbers from 0 to 100, the lower one first: p2,p98")

    def __str__(self) -> str:
        return f"p{self.low:g},p{self.high:g}"

    @classmethod
    def read(cls, text: object) -> Self:
        """`p2,p98`.

        Raises:
            ValueError: it is something else.
        """
        found = re.fullmatch(r"p(\d+(?:\.\d+)?),\s*p(\d+(?:\.\d+)?)", str(text))
        if isinstance(text, cls):
            return text
        if not found:
            raise ValueError("expected LOW,HIGH, or percentiles as p2,p98")
        return cls(float(found[1]), float(found[2]))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        """How an option's text is read."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(cls.read)


Range = Percentiles | tuple[float, ...] | None  # of an option: the lowest and highest value, or of each band


class PixelError(ValueError):
    """An image that cannot be used as it is.

    Args:
        what: the reason, in one line.
        next: what can be done about it.
    """

    def __init__(self, what: str, next: str) -> None:
        super().__init__(f"{what} (next: {next})")
        self.what, self.next = what, next


class Levels:
    """Scales values of more than 8 bits to 0..255, and remembers which ones it has seen.

    Args:
        range: the values that become 0 and 255; what lies outside counts as the nearer one. None is what
            the file says (12 bits: 0 to 4,095), or 0 to 65,535. Two numbers, or two for each band in turn.

    Raises:
        UsageError: the range is empty, or not of finite numbers.
    """

    def __init__(self, range: tuple[float, ...] | None = None) -> None:
        if range is not None and (len(range) < 2 or len(range) % 2):
            what = f"range takes two numbers, or two for each band, got {len(range)}"
            raise UsageError(what, next=_EXAMPLE)
        for pair in zip(range[::2], range[1::2], strict=True) if range else ():
            if not (np.isfinite(pair).all() and pair[0] < pair[1]):
                raise UsageError(f"range={_pair(*pair)} is empty", next=_EXAMPLE)
        self.range = range
        self.images = self.values = self.outside = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._sixteen = False  # the files say nothing of their range
        self._lock = Lock()

    def __str__(self) -> str:
        return f"range={','.join(map(_number, self.range))}" if self.range else ""

    def check(self, bands: int) -> None:
        """See that there is one range, or one for each of so many bands.

        Raises:
            UsageError: there are others.
        """
        count = len(self.range or ()) // 2
        if count not in (0, 1, bands):
            raise UsageError(
                f"range has {count} pairs of numbers, for {pluralize(bands, 'band')}", next=_EXAMPLE
            )

    def scale(self, values: NDArray[Any], bits: int = 16) -> NDArray[np.uint8]:
        """Values as uint8.

        Args:
            values: integers or floating-point numbers of any shape; with a range for each band, (H, W, C).
            bits: of a whole number in the file, where no range is stated.

        Raises:
            PixelError: they need a range that is not stated, or are not all finite.
        """
        lowest, highest = self._extremes(values)
        ends = self.range or (0, 2**bits - 1)
        low, high = ends if len(ends) == 2 else np.array(ends, dtype=np.float64).reshape(-1, 2).T
        self._remember(values, lowest, highest, low, high, bits)
        if self.range is None:
            whole = values.astype(np.int64)
            return ((whole * 255 + high // 2) // high).astype(np.uint8)
        share = (np.clip(values, low, high) - low) / (high - low)
        scaled: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
        return scaled

    def _extremes(self, values: NDArray[Any]) -> tuple[float, float]:
        lowest, highest = values.min().item(), values.max().item()
        is_float = values.dtype.kind == "f"
        if is_float and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise PixelError(
                f"{count:,} of its {values.size:,} values are not finite",
                "replace them: numpy.nan_to_num",
            )
        if self.range is None and (is_float or lowest < 0 or highest > _SIXTEEN):
            kind = "floating-point" if is_float else "whole"
            why = "have no known range" if is_float else "exceed 16 bits"
            raise PixelError(
                f"{kind} values from {_number(lowest)} to {_number(highest)} {why}",
                f"-o data.range={_number(lowest)},{_number(highest)}  # black level, white level",
            )
        return lowest, highest

    def _remember(
        self, values: NDArray[Any], lowest: float, highest: float, low: Any, high: Any, bits: int
    ) -> None:
        strays = lowest < np.max(low) or highest > np.min(high)
        outside = int(((values < low) | (values > high)).sum()) if strays else 0
        with self._lock:
            self.images += 1
            self.values += values.size
            self.outside += outside
            self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
            self._sixteen = self._sixteen or bits == 16

    def doubt(self, looked_at: int) -> str | None:
        """What the values seen say against the way they were scaled, in one line.

        Args:
            looked_at: images that were read, those of 8 bits too.
        """
        seen = f"of the {looked_at} inspected images"
        if self.range is None:
            if not self._sixteen or self.highest >= _HALF:
                return None
            # the smallest whole number of bits that holds them
            stated = max(255, 2 ** int(self.highest).bit_length() - 1)
            return (
                f"{self.images} {seen} have 16 bits, and the highest value is {self.highest:,.0f}, which becomes "
                f"{self.highest * 255 / _SIXTEEN:.0f} of 255; if they do not fill 16 bits: -o data.range=0,{stated}"
            )
        if not self.images:
            return f"{self} has no effect: none {seen} has more than 8 bits"
        if self.outside > (_STRAY if len(self.range) == 2 else _STRAY_OF_BANDS) * self.values:
            return (
                f"{self.outside / self.values:.0%} of the values {seen} lie outside {self}: "
                f"they go from {_number(self.lowest)} to {_number(self.highest)}"
            )
        return None


def _number(value: float) -> str:
    """`4095` and not `4095.0`."""
    return f"{value:.6g}" if value != int(value) else str(int(value))


def _pair(low: float, high: float) -> str:
    return f"{low:g},{high:g}" if not np.isfinite([low, high]).all() else f"{_number(low)},{_number(high)}"
