"""Attribution of errors to plugins or to the library.

Foreign code is called from many places, so the traceback decides: the innermost frame that belongs to a plugin, or
to an object that a plugin created, names the owner.
"""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ssl_seg.errors import PluginError, SslSegError, is_out_of_memory
from ssl_seg.utils.entry_points import short_error
from ssl_seg.utils.interrupt import Interrupted

_LABEL = "_ssl_seg_owner"
_OURS = "ssl_seg"
_REFUSALS = ("does not have a deterministic implementation", "Deterministic behavior was enabled")  # of torch
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Owner:
    """The plugin that owns an object.

    Attributes:
        source: a package with its version, or a file.
        part: the component, as `backbone 'mine'`, if known.
    """

    source: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.part or 'plugin'} {'of ' if self.part else ''}{self.source}"


_modules: dict[str, Owner] = {}


def know(module: str, source: str) -> None:
    """Register a module, and the packages around it, as code of a plugin.

    Args:
        module: its dotted name.
        source: see `Owner`.
    """
    parts = module.split(".")
    if parts[0] != _OURS:
        for count in range(1, len(parts) + 1):
            _modules.setdefault(".".join(parts[:count]), Owner(source))


def label(thing: object, owner: Owner) -> None:
    """Mark an object, and thereby its copies, as owned by a plugin."""
    with suppress(AttributeError, TypeError):  # objects with slots, or of C
        object.__setattr__(thing, _LABEL, owner)


def owner_of(thing: object) -> Owner | None:
    """Return the owner of an object, a class or a function; None for the library."""
    try:
        known = object.__getattribute__(thing, "__dict__").get(_LABEL)
    except AttributeError:
        known = None
    return known or _owner_of_module(getattr(thing, "__module__", ""))


def wrong(thing: object, text: str, owner: Owner | None = None) -> Exception:
    """Return the error for an object that breaks its contract: a plugin error, or an internal one.

    Args:
        text: the problem, as `training_step returned None`.
        owner: of the object, if known.
    """
    owner = owner or owner_of(thing)
    return PluginError(f"{owner}: {text}") if owner else TypeError(f"{type(thing).__name__}: {text}")


@contextmanager
def fenced(
    where: Callable[[], str] = lambda: "",
    *,
    owner: Owner | None = None,
    fails: str = "failed",
    may_raise: Callable[[Owner, BaseException], bool] = lambda owner, error: False,
) -> Iterator[None]:
    """Turn exceptions of foreign code in the block into a `PluginError` that names the plugin.

    Errors of the library, signals, and exhausted memory or disk pass unchanged.

    Args:
        where: returns the location for the error, for example the step.
        owner: of all code in the block; by default the traceback decides.
        fails: the verb of the message.
        may_raise: whether an owner may raise an error: a plugin's own command may end the program.

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
        if not culprit or may_raise(culprit, error):
            raise
        fault = PluginError(
            f"{culprit} {fails}: {short_error(error)}",
            where="\n".join(filter(None, (where(), location))) or None,
            next="rerun with `ssl-seg --debug ...` to see the traceback",
        )
        fault.reported = getattr(error, "reported", False)
        raise fault from error


def is_ctrl_c(error: BaseException) -> bool:
    """Whether Ctrl-C raised the error; while the library handles signals, it never does."""
    return (
        isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def _is_of_machine(error: BaseException) -> bool:
    """Whether memory, disk or a deterministic implementation is missing; `engine.deterministic` reports the latter."""
    refused = isinstance(error, RuntimeError) and any(text in str(error) for text in _REFUSALS)
    return refused or is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def _culprit(error: BaseException) -> tuple[Owner, str] | None:
    """Return the owner of the code that raised an error, and the line."""
    culprit, location, traceback = None, "", error.__traceback__
    while traceback:
        frame = traceback.tb_frame
        if owner := _owner_of_frame(frame):
            if culprit is None or owner.part or owner.source != culprit.source:
                culprit = owner  # a component calls other functions of its module
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
