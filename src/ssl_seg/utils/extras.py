"""Packages that are not needed for everything, and are installed by an extra."""

from collections.abc import Sequence
from importlib.util import find_spec

from ssl_seg.errors import UsageError


def require(what: str, modules: Sequence[str], install: str) -> None:
    """Whether modules can be imported, without importing them.

    Args:
        what: that needs them, as a person writes it: `--to onnx`.
        install: what follows `pip install`.

    Raises:
        UsageError: one is missing.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise UsageError(
            f"{what} requires {', '.join(missing)} (not installed)", next=f"pip install {install}"
        )
