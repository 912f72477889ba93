"""Views with other values, as a user writes them: `-o views.scale=0.3,1 -o views.turn_p=0.5`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ssl_seg.augment.recipes import View
from ssl_seg.errors import UsageError
from ssl_seg.utils.options import check_options

_RANGES = {"scale": (1e-3, 1.0), "ratio": (0.1, 10.0), "blur_sigma": (0.0, 100.0), "hue": (0.0, 0.5)}
_OF_LARGE_VIEWS = ("scale", "ratio")  # a small crop of a multi-crop recipe has a share of its own


def with_view_options(views: Sequence[View], options: Mapping[str, str]) -> tuple[View, ...]:
    """Views with these values in place of their own: all of them, but `scale` and `ratio` only those of full size.

    Args:
        options: fields of `View` but `zoom`, which the method decides.

    Raises:
        UsageError: another field, or a value that no view can have.
    """
    changes = check_options(View, "a view", options)
    for key, value in changes.items():
        _check(key, value)
    of_small = {key: value for key, value in changes.items() if key not in _OF_LARGE_VIEWS}
    return tuple(replace(view, **(changes if view.zoom == 1.0 else of_small)) for view in views)


def _check(key: str, value: Any) -> None:
    if key == "zoom":
        raise UsageError("the method decides the zoom of its views", next="another --image-size")
    low, high = _RANGES.get(key, (0.0, 1.0))
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(low <= number <= high for number in numbers) or list(numbers) != sorted(numbers):
        order = "two rising numbers" if isinstance(value, tuple) else "a number"
        raise UsageError(f"views.{key} must be {order} from {low:g} to {high:g}, got {value!r}")
