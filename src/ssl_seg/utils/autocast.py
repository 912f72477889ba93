"""Numbers that are float32 also where the caller computes in bfloat16."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_T = TypeVar("_T")


def without_autocast(make: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that computes in the precision of what it is given, inside autocast too."""

    @wraps(make)
    def made(*args: _P.args, **options: _P.kwargs) -> _T:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False), _without_mps():
            return make(*args, **options)

    return made


def _without_mps() -> AbstractContextManager[Any]:
    """Likewise on a Mac's GPU; elsewhere its autocast warns."""
    is_there = torch.backends.mps.is_available()
    return torch.autocast("mps", enabled=False) if is_there else nullcontext()


def full_precision(loss: Callable[_P, _T]) -> Callable[_P, _T]:
    """A loss in float32, inside autocast too: half precision is upcast, float64 stays.

    bfloat16 has 8 bits, and a cosine of 0.999 needs more. Autocast computes matrix products in
    bfloat16 even of float32, so upcasting the arguments is not enough.
    """
    computed = without_autocast(loss)  # once: torch.compile refuses a function made in each call

    @wraps(loss)
    def upcast(*args: Any, **options: Any) -> Any:
        return computed(*map(_upcast, args), **{k: _upcast(v) for k, v in options.items()})

    return upcast


def _upcast(value: Any) -> Any:
    """Cast a floating-point tensor to float32 at least; return anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value
