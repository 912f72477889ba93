"""The backbone that suits a head."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import UsageError

if TYPE_CHECKING:
    from ssl_seg.base import Backbone


def suited(
    head: Callable[..., Any],
    options: dict[str, dict[str, str]],
    build: Callable[[], "Backbone"],
    say: Callable[[str], None],
) -> "Backbone":
    """A backbone with the output stride that suits a head, if it can have one.

    Args:
        head: its factory, with an attribute `output_stride` if one suits it. The user's own
            `backbone.output_stride` or `backbone.stem` holds against it.
        options: of the parts; the backbone's get the stride that it has.
        build: makes the backbone, from `options`.
        say: is told when it cannot.
    """
    wanted, own = getattr(head, "output_stride", None), options.get("backbone", {})
    if wanted is None or "output_stride" in own or "stem" in own:
        return build()
    options["backbone"] = {**own, "output_stride": str(wanted)}
    try:
        return build()
    except UsageError:
        options.pop("backbone", None)
        options |= {"backbone": own} if own else {}
        say(f"has no output stride of {wanted}: its own is used")
        return build()
