"""How pixel values of more than 8 bits become 8, and what is doubtful about that."""

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.errors import UsageError

_SIXTEEN = 65_535
_HALF = 32_768  # values that stay below leave a bit of 16 unused
_STRAY = 0.01  # share of the values that may lie outside a stated range


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
            the file says (12 bits: 0 to 4,095), or 0 to 65,535.

    Raises:
        UsageError: the range is empty, or not of finite numbers.
    """

    def __init__(self, range: tuple[float, float] | None = None) -> None:
        if range and not (np.isfinite(range).all() and range[0] < range[1]):
            raise UsageError(f"range={_pair(*range)} is empty", next="-o data.range=0,4095  # LOWEST,HIGHEST")
        self.range = range
        self.images = self.values = self.outside = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._sixteen = False  # the files say nothing of their range
        self._lock = Lock()

    def __str__(self) -> str:
        return f"range={_pair(*self.range)}" if self.range else ""

    def scale(self, values: NDArray[Any], bits: int = 16) -> NDArray[np.uint8]:
        """Values as uint8.

        Args:
            values: integers or floating-point numbers of any shape.
            bits: of a whole number in the file, where no range is stated.

        Raises:
            PixelError: they need a range that is not stated, or are not all finite.
        """
        lowest, highest = self._extremes(values)
        low, high = self.range or (0, 2**bits - 1)
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
        self, values: NDArray[Any], lowest: float, highest: float, low: float, high: float, bits: int
    ) -> None:
        outside = int(((values < low) | (values > high)).sum()) if lowest < low or highest > high else 0
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
        if self.outside > _STRAY * self.values:
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
