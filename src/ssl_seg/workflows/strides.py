"""The backbone that suits a head."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ssl_seg.errors import UsageError

T = TypeVar("T")


def backbone_with_output_stride(
    head: Callable[..., Any],
    options: Mapping[str, str],
    build: Callable[[Mapping[str, str]], T],
    print_line: Callable[[str], None],
) -> T:
    """A backbone with the output stride that suits a head, if it can have one.

    Args:
        head: its factory, with an attribute `output_stride` if one suits it. The user's own
            `output_stride` or `stem` overrides it.
        options: of the backbone.
        build: makes the backbone from options.
        print_line: called with the reason when it cannot.
    """
    stride = getattr(head, "output_stride", None)
    if stride is None or "output_stride" in options or "stem" in options:
        return build(options)
    suited = {**options, "output_stride": str(stride)}
    try:
        return build(suited)
    except UsageError:
        print_line(f"has no output stride of {stride}: its own is used")
        return build(options)
