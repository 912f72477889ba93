"""Whose code it was that failed: a plugin's, or our own.

Foreign code is called from many places, and more will come. So it is the traceback that is asked: the innermost
frame that belongs to a plugin, or to an object that a plugin has made, says who it was.
"""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ssl_seg.errors import PluginError, SslSegError, is_out_of_memory
from ssl_seg.utils.entry_points import brief
from ssl_seg.utils.interrupt import Interrupted

_LABEL = "_ssl_seg_owner"
_OURS = "ssl_seg"
_REFUSALS = ("does not have a deterministic implementation", "Deterministic behavior was enabled")  # of torch
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Owner:
    """Whose something is, for people.

    Attributes:
        source: a package with its version, or a file.
        part: the component, as `backbone 'mine'`, if it is known.
    """

    source: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.part or 'plugin'} {'of ' if self.part else ''}{self.source}"


_modules: dict[str, Owner] = {}


def know(module: str, source: str) -> None:
    """From now on the code of a module, and of the package around it, is somebody's.

    Args:
        module: its dotted name.
        source: see `Owner`.
    """
    parts = module.split(".")
    if parts[0] != _OURS:
        for count in range(1, len(parts) + 1):
            _modules.setdefault(".".join(parts[:count]), Owner(source))


def label(thing: object, owner: Owner) -> None:
    """Say of an object whose it is; its copies say the same."""
    with suppress(AttributeError, TypeError):  # it may have slots, or be of C
        object.__setattr__(thing, _LABEL, owner)


def owner_of(thing: object) -> Owner | None:
    """Whose an object, a class or a function is; None: ours."""
    try:
        known = object.__getattribute__(thing, "__dict__").get(_LABEL)
    except AttributeError:
        known = None
    return known or _owner_of_module(getattr(thing, "__module__", ""))


def wrong(thing: object, text: str, owner: Owner | None = None) -> Exception:
    """The error to raise when an object does not keep its contract: its owner's fault, or a bug of ours.

    Args:
        text: what is wrong, as `training_step returned None`.
        owner: whose it is, if that is known.
    """
    owner = owner or owner_of(thing)
    return PluginError(f"{owner}: {text}") if owner else TypeError(f"{type(thing).__name__}: {text}")


@contextmanager
def fenced(
    where: Callable[[], str] = lambda: "",
    *,
    owner: Owner | None = None,
    fails: str = "failed",
    its_right: Callable[[Owner, BaseException], bool] = lambda owner, error: False,
) -> Iterator[None]:
    """Around work that calls foreign code: whatever that raises becomes an error with its name.

    What is our own fault, a signal, and a machine that has run out of something pass unchanged.

    Args:
        where: asked in that case, as for a step.
        owner: of all that is called; otherwise the traceback tells.
        fails: what it did then.
        its_right: whether somebody may raise something, as a command of its own may end the program.

    Raises:
        PluginError: foreign code raised something, `SystemExit` and `KeyboardInterrupt` included.
    """
    try:
        yield
    except PluginError as error:
        error.where = error.where or where() or None
        raise
    except (SslSegError, Interrupted):
        raise
    except BaseException as error:
        if _is_of_machine(error) or is_ctrl_c(error):
            raise
        culprit, location = _culprit(error) or (None, "")
        culprit = owner or culprit
        if not culprit or its_right(culprit, error):
            raise
        fault = PluginError(
            f"{culprit} {fails}: {brief(error)}",
            where="\n".join(filter(None, (where(), location))) or None,
            next="run it again with `ssl-seg --debug ...` to see its traceback",
        )
        fault.reported = getattr(error, "reported", False)
        raise fault from error


def is_ctrl_c(error: BaseException) -> bool:
    """Whether a person has interrupted the program; where we listen to signals, that is never this error."""
    return (
        isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def _is_of_machine(error: BaseException) -> bool:
    """Memory, disk, or an operation that the device has not in a deterministic form: `engine.deterministic` names it."""
    refused = isinstance(error, RuntimeError) and any(text in str(error) for text in _REFUSALS)
    return refused or is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def _culprit(error: BaseException) -> tuple[Owner, str] | None:
    """Whose code has raised an error, and in which line."""
    culprit, location, traceback = None, "", error.__traceback__
    while traceback:
        frame = traceback.tb_frame
        if owner := _owner_of_frame(frame):
            if culprit is None or owner.part or owner.source != culprit.source:
                culprit = owner  # a part calls other functions of its module
            location = f"{frame.f_code.co_filename}:{traceback.tb_lineno} in {frame.f_code.co_name}"
        traceback = traceback.tb_next
    if culprit:
        return culprit, location
    return _culprit(error.__cause__) if error.__cause__ else None


def _owner_of_frame(frame: FrameType) -> Owner | None:
    self: Any = frame.f_locals.get("self")
    known = owner_of(self) if self is not None else None
    return known or _owner_of_module(frame.f_globals.get("__name__"))


def _owner_of_module(name: object) -> Owner | None:
    parts = str(name).split(".")
    for count in range(len(parts), 0, -1):
        if owner := _modules.get(".".join(parts[:count])):
            return owner
    return None
