"""What a person sees while something long goes on: a bar on a terminal, plain lines elsewhere."""

import logging
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TextIO

from ssl_seg.errors import SslSegError, render
from ssl_seg.utils.log import log
from ssl_seg.utils.text import format_duration, shown

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ssl_seg.utils.train_progress import TrainProgress

_LINE_SECONDS = 10.0
_BAR, _WIDE = 25, 115  # columns of the bar, and of a terminal that has room for one


@dataclass(frozen=True)
class Shown:
    """What a person is shown: lines of text, and the progress of what takes long."""

    lines: bool = True
    progress: bool = True


_EVERYTHING = Shown()
_SHOWN: ContextVar[Shown] = ContextVar("shown", default=_EVERYTHING)


@contextmanager
def showing(*, lines: bool) -> Iterator[None]:
    """Whether lines are printed inside; progress and warnings are, unless `show_progress(False)` is called there."""
    token = _SHOWN.set(Shown(lines=lines))
    try:
        yield
    finally:
        _SHOWN.reset(token)


def show_progress(shown: bool) -> bool:
    """Whether progress is shown from here on."""
    _SHOWN.set(replace(_SHOWN.get(), progress=shown))
    return shown


def echo(*lines: object, err: bool = False) -> None:
    """Print the lines of a command's answer; whatever they hold, each stays one line."""
    if not (err or _SHOWN.get().lines):
        return
    stream = sys.stderr if err else sys.stdout
    print(_printable(lines, stream), file=stream, flush=True)


def show_error(error: SslSegError) -> None:
    """An error as people see it, on stderr."""
    echo(*render(error).split("\n"), err=True)


def typed(*more: str) -> str:
    """The command that was typed, to be typed again; with further flags, unless they are there."""
    return shlex.join(["ssl-seg", *sys.argv[1:], *(word for word in more if word not in sys.argv)])


def _printable(lines: Iterable[object], stream: TextIO) -> str:
    """Lines without what a terminal would act on, in letters that the stream has."""
    text, letters = "\n".join(map(shown, lines)), getattr(stream, "encoding", None) or "utf-8"
    return text.encode(letters, "backslashreplace").decode(letters)


class ProgressDisplay:
    """Tells about one command, and the log's warnings, on stderr; a closed pipe never stops the work.

    Attributes:
        quiet: say nothing, as one of several processes that do the same.
        lines, warns: whether lines and warnings are shown, beside the progress.
    """

    def __init__(self) -> None:
        self.quiet, self.lines, self.warns = False, True, True
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._said = 0.0
        self._forecast = False
        self._warnings = _Warnings(self)

    def __enter__(self) -> Self:
        log.addHandler(self._warnings)
        if _SHOWN.get().progress and (sys.stderr.isatty() or _is_notebook()):
            self._progress = _bar()
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self._warnings)
        if self._progress:
            self._progress.stop()

    def print_line(self, *lines: str) -> None:
        """Lines that stay; a line break in one of them is shown, not made."""
        if self.lines and _SHOWN.get().lines:
            self.print(*lines)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """No lines inside, only progress and warnings."""
        before, self.lines = self.lines, False
        try:
            yield
        finally:
            self.lines = before

    def print(self, *lines: str) -> None:
        """As `say`, whoever has called: for progress and warnings."""
        if self.quiet:
            return
        text = _printable(lines, sys.stderr)
        try:
            if self._progress:
                plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
                self._progress.console.print(text, soft_wrap=True, **plain)
            else:
                print(text, file=sys.stderr, flush=True)
        except (BrokenPipeError, OSError):
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115  stays for the rest of the process

    @property
    def _is_narrow(self) -> bool:
        """Whether numbers need the room that a bar would take."""
        return self._progress is not None and self._progress.console.width < _WIDE

    def reading(self, done: int, count: int) -> None:
        """The store is being built."""
        self._show("reading images", done, count, "", quiet=count < 2000)

    def predicting(self, done: int, count: int) -> None:
        """Images go through a model, one by one."""
        self._show("predicting", done, count, "", quiet=count < 20)

    def mapping(self, done: int, count: int) -> None:
        """Maps are made."""
        self._show("t-SNE maps", done, count, "")

    def training(self, progress: "TrainProgress") -> None:
        """Show the progress of a training run."""
        share = "" if self._is_narrow else f"data {progress.data_wait_fraction:.0%}  "
        memory = f"{progress.memory / 2**30:.1f} GiB  " if progress.memory else ""
        text = (
            f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
            f"{progress.images_per_second:.1f} images/s  {share}{memory}{format_duration(progress.eta_seconds)} left"
        )
        self._show("training", progress.step, progress.total_steps, text)
        if not self._forecast and progress.steps_since_start >= 5 and progress.eta_seconds > 60:
            self._forecast = True
            self.print_line(
                f"estimated time: {format_duration(progress.eta_seconds)} for {progress.total_steps - progress.step} steps "
                f"at {progress.images_per_second:.1f} images/s"
            )

    def _show(self, what: str, done: int, count: int, text: str, quiet: bool = False) -> None:
        if self.quiet or not _SHOWN.get().progress:
            return
        if self._progress:
            if self._task is None or self._progress.tasks[self._task].description != what:
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._task = self._progress.add_task(what, total=count, text="")
            room = (
                self._progress.console.width
                - len(f"{what} {count}/{count}   ")
                - (0 if self._is_narrow else _BAR)
            )
            self._progress.update(self._task, completed=done, text=text[: max(0, room)])
        elif not quiet and (monotonic() - self._said >= _LINE_SECONDS or done == count):
            self._said = monotonic()
            self.print(f"{what}: {done}/{count}  {text}".rstrip())


class _Warnings(logging.Handler):
    """Shows what the log warns of; errors end the command and are told then."""

    def __init__(self, console: ProgressDisplay) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and self._console.warns:
            self._console.print(f"warning: {record.getMessage()}")


def _is_notebook() -> bool:
    """Whether a bar can be drawn in the cell of a notebook."""
    from importlib.util import find_spec

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


def _bar() -> "Progress":
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = RichConsole(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=_BAR - 1)] if console.width >= _WIDE else []),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        refresh_per_second=4,
    )


def format_file_size(path: Path) -> str:
    """`1.8 MB`, `3 kB`."""
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
