"""What can go wrong, how a run ends then, and how that is told.

SslSegError            1   a bug
+- UsageError          2   command line or configuration
+- DataError           3   images, labels, masks
+- WeightsError        4   checkpoints and weight files
+- HealthError         5   NaN, collapse
+- ResourceError       6   disk, memory, permission
+- PluginError         7   a plugin is missing, broken or in conflict
+- DistributedError    8   another rank died
+- OutputInUseError    9   the output folder is in use or not empty
+- Stopped         128+n   signal n, after saving
"""

import difflib
import signal as signals
from collections.abc import Iterable, Sequence

from ssl_seg.utils.text import shown


class SslSegError(Exception):
    """An error with a next step.

    Args:
        what: one sentence.
        where: file, sample, key or step; several lines if need be, see `ssl_seg.utils.text.listed`.
        kept: the newest verified checkpoint.
        next: a command that can be pasted.
        faults: every file that is wrong, with the reason, where `where` shows the first few.

    Attributes:
        reported: another process prints this error.
    """

    code = 1
    reported = False

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        kept: str | None = None,
        next: str | None = None,
        faults: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.kept, self.next = what, where, kept, next
        self.faults = faults


class UsageError(SslSegError):
    """The command line or a configuration file is wrong."""

    code = 2


class DataError(SslSegError):
    """Images, labels or masks are wrong."""

    code = 3


class WeightsError(SslSegError):
    """A checkpoint or weight file is missing, damaged, or does not fit."""

    code = 4


class HealthError(SslSegError):
    """Training went wrong: NaN, or a collapsed representation."""

    code = 5


class ResourceError(SslSegError):
    """Disk, memory or permission ran out."""

    code = 6


class PluginError(SslSegError):
    """A plugin is missing, broken, or in conflict with another."""

    code = 7


class DistributedError(SslSegError):
    """Another rank or worker died."""

    code = 8


class OutputInUseError(SslSegError):
    """The output folder is in use, or not empty."""

    code = 9


RankError, OccupiedError = DistributedError, OutputInUseError  # deprecated: the names in version 0.1.0


class Stopped(SslSegError):
    """A signal asked the run to stop; it has saved."""

    def __init__(self, signal: int, *, kept: str | None = None, next: str | None = None) -> None:
        super().__init__(f"stopped by signal {signal} ({_signal_name(signal)})", kept=kept, next=next)
        self.code = 128 + signal

    def __reduce__(self) -> tuple[type, tuple[int], dict[str, object]]:  # launchers send it between processes
        return Stopped, (self.code - 128,), self.__dict__


def _signal_name(number: int) -> str:
    """How people call a signal."""
    return "Ctrl-C" if number == signals.SIGINT else signals.Signals(number).name


def render(error: SslSegError, lines: int = 12) -> str:
    """The error as text of at most `lines` lines for a terminal: what, where, kept, next."""
    tail = [f"{label}: {shown(text)}" for label, text in (("kept", error.kept), ("next", error.next)) if text]
    if error.where:
        tail = [*_lines(f"where: {error.where}", lines - len(tail) - 2), *tail]
    return "\n".join([*_lines(f"error[{error.code}] {error.what}", lines - len(tail)), *tail])


def _lines(text: str, most: int) -> list[str]:
    """A text of several lines: what follows the first is indented, so that it cannot be taken for another part."""
    first, *others = map(shown, text.strip().split("\n"))
    lines = [first, *(f"       {line.strip()}" for line in others if line.strip())]
    return lines if len(lines) <= most else [*lines[: most - 1], "..."]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine has no memory left; on the CPU torch has no error of its own for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in "".join(map(str, error.args))


def pluralize(count: int, noun: str) -> str:
    """`1 epoch`, `3 epochs`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no choice is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
