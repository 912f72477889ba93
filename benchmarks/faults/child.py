"""What happens in a forked child: its surroundings, what is to go wrong, and the command."""

import importlib
import os
import resource
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

NO_TRIAL = 99  # the exit code of a child whose trial could not be set up
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def run_child(request: dict[str, Any]) -> NoReturn:
    """Run a command, or another function, and end with its exit code.

    A request holds: `words` of the command line; `output`, the file for what it prints; and, each
    optional: `environment`; `path`, put before `sys.path`; `folder`, to work in; `setup`, pairs of
    `module:function` and its arguments, called first; `call`, a `module:function` in place of the command
    line; `file_size` and `memory`, limits in bytes; `broken_pipe`: nobody reads what it prints; `closed`: 1 for
    stdout, 2 for stderr, if they are.
    """
    code: Any = 1
    try:
        _surround(request)
        _set_up(request)
        for what, name in (("file_size", resource.RLIMIT_FSIZE), ("memory", resource.RLIMIT_AS)):
            if request.get(what):
                resource.setrlimit(name, (request[what],) * 2)
        find(request.get("call") or "ssl_seg.cli:main")()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code if isinstance(code, int) else 1)


def _set_up(request: dict[str, Any]) -> None:
    """Arrange what is to go wrong; what cannot be arranged is no trial."""
    try:
        for place, given in request.get("setup", ()):
            find(place)(*given)
    except Exception:
        traceback.print_exc()
        raise SystemExit(NO_TRIAL) from None


def find(place: str) -> Any:
    """`module:function` -> the function."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _surround(request: dict[str, Any]) -> None:
    os.setsid()
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if request.get("broken_pipe"):
        nobody, output = os.pipe()
        os.close(nobody)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for handle, target in enumerate((nothing, output, output)):
        os.dup2(target, handle)
    sys.stdout, sys.stderr = (os.fdopen(handle, "w", 1, closefd=False) for handle in (1, 2))
    for handle in request.get("closed", ()):
        os.close(handle)
        setattr(sys, ("stdout", "stderr")[handle - 1], None)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(request.get("environment", {}))
    sys.path[:0] = request.get("path", [])
    os.chdir(request.get("folder") or ".")
    sys.argv = ["ssl-seg", *request["words"]]
    socket.socket.connect = _no_network  # type: ignore[assignment,method-assign]


def _no_network(self: socket.socket, address: Any) -> None:
    raise ConnectionRefusedError(f"a trial may not connect to {address!r}")
