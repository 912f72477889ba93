"""libtiff prints what it thinks of a file to the terminal, past Python; here it does not.

Pillow tells of what it cannot read by its exceptions. libtiff's handlers belong to the whole process, so they are
taken away while any thread decodes, and come back after the last.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from PIL import Image

_HANDLERS = ("TIFFSetWarningHandler", "TIFFSetErrorHandler")
_lock = Lock()
_decoding = 0
_before: list[int | None] = []


@contextmanager
def quiet_libtiff() -> Iterator[None]:
    """While this is entered, by any number of threads, libtiff prints nothing."""
    global _decoding
    with _lock:
        _decoding += 1
        if _decoding == 1:
            _before[:] = [handle(None) for handle in _setters()]
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0:
                for handle, before in zip(_setters(), _before, strict=True):
                    handle(before)


@cache
def _setters() -> list[Any]:
    """The functions that set a handler and return the one before; none where Pillow has no libtiff that can be found."""
    try:
        library = ctypes.CDLL(getattr(Image, "core").__file__)  # noqa: B009  for mypy it is not there
        found = [getattr(library, name) for name in _HANDLERS]
    except (AttributeError, OSError):
        return []
    for function in found:
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return found
