"""Process-wide state that foreign code may change: saved before a call and restored afterwards."""

import operator
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any


@dataclass(frozen=True)
class _State:
    """A piece of global state.

    Attributes:
        name: shown to users.
        of: the module that owns it; a module that is not imported has not been changed.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    of: str = "sys"
    same: Callable[[Any, Any], bool] = operator.eq


@contextmanager
def restored(*, numbers_only: bool = False) -> Iterator[list[str]]:
    """Restore global state after the block; yields a list that then names what was restored.

    Args:
        numbers_only: restore only state that affects results, not the state of the process.
    """
    states = [
        state for state in (_NUMBERS if numbers_only else _NUMBERS + _PROCESS) if state.of in sys.modules
    ]
    before = [(state, state.read()) for state in states]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for state, value in before:
            if not state.same(state.read(), value):
                changed.append(state.name)
                state.write(value)


def _torch() -> Any:
    return sys.modules["torch"]


def _of_torch(name: str, read: Callable[[Any], Any], write: Callable[[Any, Any], object]) -> _State:
    return _State(name, lambda: read(_torch()), lambda value: write(_torch(), value), "torch")


def _numpy_generator() -> Any:
    kind, keys, *rest = sys.modules["numpy"].random.get_state()
    return kind, keys.tobytes(), *rest


def _set_numpy_generator(state: Any) -> None:
    kind, keys, *rest = state
    numpy = sys.modules["numpy"]
    numpy.random.set_state((kind, numpy.frombuffer(keys, numpy.uint32), *rest))


def _default_device(torch: Any) -> Any:
    return str(torch.get_default_device())


def _set_default_device(torch: Any, name: str) -> None:
    torch.set_default_device(None if name == "cpu" else name)


def _gpu_generators(torch: Any) -> Any:
    return (
        [bytes(state.numpy()) for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_initialized()
        else []
    )


def _tensor(torch: Any, state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


_NUMBERS = (
    _of_torch(
        "torch's default dtype", lambda t: t.get_default_dtype(), lambda t, value: t.set_default_dtype(value)
    ),
    _of_torch("torch's default device", _default_device, _set_default_device),
    _of_torch("torch's grad mode", lambda t: t.is_grad_enabled(), lambda t, value: t.set_grad_enabled(value)),
    _of_torch(
        "torch's number of threads", lambda t: t.get_num_threads(), lambda t, value: t.set_num_threads(value)
    ),
    _of_torch(
        "torch's deterministic mode",
        lambda t: t.get_deterministic_debug_mode(),
        lambda t, value: t.set_deterministic_debug_mode(value),
    ),
    _of_torch(
        "torch's float32 matmul precision",
        lambda t: t.get_float32_matmul_precision(),
        lambda t, value: t.set_float32_matmul_precision(value),
    ),
    _of_torch(
        "torch's generator",
        lambda t: bytes(t.get_rng_state().numpy()),
        lambda t, value: t.set_rng_state(_tensor(t, value)),
    ),
    _of_torch(
        "torch's CUDA generators",
        _gpu_generators,
        lambda t, value: t.cuda.set_rng_state_all([_tensor(t, each) for each in value]),
    ),
    _State("numpy's generator", _numpy_generator, _set_numpy_generator, "numpy"),
    _State(
        "numpy's error handling",
        lambda: sys.modules["numpy"].geterr(),
        lambda value: sys.modules["numpy"].seterr(**value),
        "numpy",
    ),
    _State("Python's generator", random.getstate, random.setstate),
)


def _handlers() -> dict[int, Any]:
    """Return the handlers of all signals; only the main thread may set them."""
    if current_thread() is not main_thread():
        return {}
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _change_folder(folder: str) -> None:
    with suppress(OSError):
        os.chdir(folder)


def _of_sys(name: str, attribute: str) -> _State:
    return _State(
        name, lambda: getattr(sys, attribute), lambda value: setattr(sys, attribute, value), same=operator.is_
    )


_PROCESS = (
    _State("signal handlers", _handlers, _set_handlers),
    _State("the working directory", _folder, _change_folder),
    _of_sys("sys.stdin", "stdin"),
    _of_sys("sys.stdout", "stdout"),
    _of_sys("sys.stderr", "stderr"),
    _of_sys("sys.excepthook", "excepthook"),
    _State("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
)
