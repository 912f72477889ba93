"""What the size of the training images means for a head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ssl_seg.engine.untrained_taps import untrained_taps
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.log import log


def options_for_size(
    head: Callable[..., Any], options: Mapping[str, str], strides: Sequence[int], size: int
) -> Mapping[str, str]:
    """The user's options of a head, and those that suit training images of `size` pixels where the user gives none.

    Args:
        head: its factory; with `options_for(strides, size)` if its options depend on the size.
        strides: of the backbone.
    """
    suited = getattr(head, "options_for", None)
    return {**suited(strides, size), **options} if suited else options


def warn_of_untrained_taps(model: nn.Module, size: int) -> None:
    """Say which weights images of `size` pixels cannot train, and what would."""
    try:
        with fenced():
            found = untrained_taps(model, size)
    except Exception:  # the first step says what is wrong with the network, and where
        return
    if not found:
        return
    layers = ", ".join(
        f"{each.name} (dilation {each.dilation} on {each.cells[0]} x {each.cells[1]} cells: {each.taps} of {each.of} taps)"
        for each in found[:3]
    )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    log.warning(
        "images of %d pixels leave weights untrained that act in larger images: %s%s; the smallest size that trains all "
        "is %d pixels",
        size, layers, more, max(each.size for each in found),
    )  # fmt: skip
