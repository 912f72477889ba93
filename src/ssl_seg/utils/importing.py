"""Foreign modules are imported inside a fence: what they raise, change or end harms nobody but themselves."""

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssl_seg.utils.entry_points import DISABLE, short_error
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.lock import try_lock
from ssl_seg.utils.log import log
from ssl_seg.utils.surroundings import restored
from ssl_seg.utils.timeout import timeout_seconds

_SAID = 10.0  # seconds until it is said what is waited for
_AGAIN = 10.0  # seconds between two attempts to end what has run out of time
_TRIAL = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1])
finally:
    print("came back", flush=True)
"""


class ImportFault(Exception):
    """Foreign code could not be imported; the text says why, on one line."""


class _Deadly(ImportFault):
    """It ends any process that imports it: the note stays."""


class _Ended(BaseException):
    """Foreign code asked for the end of the process, or took too long; no `except Exception` takes it."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def import_fence(
    whose: str, *, name: str = "", module: str = "", notes: Path | None = None
) -> Iterator[list[str]]:
    """Around the import of a foreign module, and the first calls into it.

    Args:
        whose: for people, as `plugin 'mine' of my-plugin 1.2`.
        name: of the plugin, under which a person can leave it out.
        module: its dotted name; with `notes`.
        notes: a folder in which it is noted what is being imported. Of a module with which a process has died,
            the next one finds the note, and lets another process try it first.

    Yields:
        A list that says, once the block is over, which state of the process was changed, and set back.

    Raises:
        ImportFault: whatever is raised in the block, `SystemExit`, `KeyboardInterrupt` and `os._exit` included; it
            takes longer than `timeout_seconds()`; or a process that imports it dies.
        Interrupted: a signal came. KeyboardInterrupt: a person pressed Ctrl-C.
    """
    way_out = f"; {DISABLE}={name} disables it" if name else ""
    with _listening() as pressed, _noted(notes, module) as died:
        if died:
            log.warning(
                "a process crashed while importing %s: trying it in a subprocess first%s", whose, way_out
            )
            if outcome := _how_it_exits(module):
                raise _Deadly(f"{outcome}{way_out}")
        try:
            with _watched(whose, way_out), restored() as changed, _without_exit(), _crash_shown():
                yield changed
        except Interrupted:
            raise
        except _Ended as error:
            raise ImportFault(str(error)) from error
        except BaseException as error:
            if pressed:
                raise
            raise ImportFault(short_error(error)) from error


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Yields a list that holds a number once a person has pressed Ctrl-C: anybody can raise KeyboardInterrupt."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    listens = _is_main() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        if listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _watched(whose: str, way_out: str) -> Iterator[None]:
    """Log after ten seconds what is being imported, and abort at the timeout."""
    if not _is_main():
        yield
        return
    said: list[bool] = []

    def ring(*_: object) -> None:
        if not said:
            said.append(True)
            log.warning("still importing %s%s", whose, way_out)
            signal.setitimer(signal.ITIMER_REAL, max(0.01, timeout_seconds() - _SAID), _AGAIN)
            return
        raise _Ended(f"import timed out after {timeout_seconds():.0f} s{way_out}")

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, min(_SAID, timeout_seconds()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)


@contextmanager
def _without_exit() -> Iterator[None]:
    """Here `os._exit` raises, as nothing could be said after it; forks and other threads may call it."""
    real, inside, here = os._exit, [True], (os.getpid(), threading.get_ident())

    def refuse(code: int) -> None:
        if inside and here == (os.getpid(), threading.get_ident()):
            raise _Ended(f"its import exits the process: os._exit({code})")
        real(code)

    os_modules: list[Any] = [module for module in (os, sys.modules.get("posix")) if module]
    for os_module in os_modules:
        os_module._exit = refuse
    try:
        yield
    finally:
        inside.clear()
        for os_module in os_modules:
            os_module._exit = real


@contextmanager
def _crash_shown() -> Iterator[None]:
    """A crash of foreign machine code prints in which line of which file it was called."""
    ours = not faulthandler.is_enabled()
    if ours:
        with suppress(OSError, ValueError):
            faulthandler.enable(2)
    try:
        yield
    finally:
        if ours:
            faulthandler.disable()


@contextmanager
def _noted(folder: Path | None, module: str) -> Iterator[bool]:
    """Note that a module is being imported; yields whether a process has died while it did that.

    The note is a byte in a file that is locked: of a process that lives nobody can say that it died.
    """
    if folder is None:
        yield False
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        file = os.fdopen(os.open(folder / module, flags), "a+")
    except OSError:  # a home that cannot be written: then no note
        yield False
        return
    with file:
        if not try_lock(file):  # another process is at it
            yield False
            return
        died = file.tell() > 0
        file.write("x")
        file.flush()
        try:
            yield died
        except _Deadly:
            raise
        except BaseException:
            file.truncate(0)
            raise
        file.truncate(0)


def _how_it_exits(module: str) -> str:
    """What becomes of another process that imports a module; empty if it comes back."""
    words = [sys.executable, "-c", _TRIAL, module]
    around = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ended = subprocess.run(
            words,
            env=around,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"import in a subprocess timed out after {timeout_seconds():.0f} s"
    if b"came back" in ended.stdout:
        return ""
    outcome = (
        f"by signal {-ended.returncode}" if ended.returncode < 0 else f"with exit code {ended.returncode}"
    )
    return f"a subprocess that imports it was ended {outcome}"


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
