"""timm without torch's compiler: importing it takes as long as torch itself, and few commands need it.

timm and torchvision import `torch._dynamo` for a decorator and a question. Both can wait for the first call.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_PACKAGE, _UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def dynamo_on_demand() -> Iterator[None]:
    """Within the block, `torch.compiler.disable` and torchvision's `is_compile_supported` import no compiler.

    Whoever imports `torch._dynamo`, or asks for anything else of it, gets it as ever.
    """
    import torch

    if _PACKAGE in sys.modules or not hasattr(torch, "_disable_dynamo"):
        yield
        return
    stand_in, finder, real = _Utils(_UTILS), _Finder(), torch.compiler.disable

    def disable(fn: Any = None, recursive: bool = True, **named: Any) -> Any:
        if fn is None or _PACKAGE in sys.modules:
            return real(fn, recursive, **named)  # type: ignore[no-untyped-call]
        # torch's own decorator that waits for the first call
        return torch._disable_dynamo(fn, recursive)  # type: ignore[attr-defined]

    sys.modules[_UTILS] = stand_in
    sys.meta_path.insert(0, finder)
    torch.compiler.disable = disable
    try:
        yield
    finally:
        torch.compiler.disable = real
        sys.meta_path.remove(finder)
        _make_way()


class _Utils(ModuleType):
    """Stands in for `torch._dynamo.utils` until somebody imports its package."""

    @staticmethod
    def is_compile_supported(device: Any) -> bool:
        """As the real one, when it is called."""
        _make_way()
        from torch._dynamo.utils import is_compile_supported

        return bool(is_compile_supported(device))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _make_way()
        from torch._dynamo import utils

        return getattr(utils, name)


class _Finder:
    """Finds no module, but sees when the package is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == _PACKAGE:
            _make_way()


def _make_way() -> None:
    if isinstance(sys.modules.get(_UTILS), _Utils):
        del sys.modules[_UTILS]
