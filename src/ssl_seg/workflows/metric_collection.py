"""The metrics that somebody wants besides a command's own: `--metric`."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssl_seg.errors import PluginError
from ssl_seg.nn.contracts import numbers_of
from ssl_seg.utils.entry_points import brief
from ssl_seg.utils.foreign import owner_of

if TYPE_CHECKING:
    from ssl_seg.base import Metric
    from ssl_seg.registry import Registry


class Further:
    """Some metrics as one.

    Args:
        registry, names: which.
        classes: names of the classes.
        pixels: logits are (B, classes, H, W) and not (B, classes).

    Raises:
        PluginError: one cannot be built, or takes no logits of this kind.
    """

    def __init__(
        self, registry: "Registry", names: Iterable[str], classes: Sequence[str], *, pixels: bool
    ) -> None:
        self.metrics: dict[str, Metric] = {
            name: registry.build("metrics", name, list(classes)) for name in names
        }
        shape = (2, 2) if pixels else ()
        for name, metric in self.metrics.items():  # now, and not after an epoch
            try:
                metric.update(torch.zeros(2, len(classes), *shape), torch.zeros(2, *shape, dtype=torch.int64))
                numbers_of(metric)
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(
                    f"the {owner_of(metric) or f'metric {name!r}'} cannot be measured on the logits of "
                    f"{'pixels' if pixels else 'images'}: {brief(error)}",
                    next=f"leave {name!r} out of --metric",
                ) from error

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.metrics.values():
            metric.reset()

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in one batch."""
        for metric in self.metrics.values():
            metric.update(logits, target)

    def compute(self, taken: Iterable[str]) -> dict[str, float]:
        """The numbers by name.

        Raises:
            PluginError: two have the same name, or one has one of those that are `taken`.
        """
        found = dict.fromkeys(taken, 0.0)
        mine: dict[str, float] = {}
        for name, metric in self.metrics.items():
            for key, value in numbers_of(metric).items():
                if key in found:
                    raise PluginError(
                        f"the metric {name!r} gives a number {key!r}, and there is one of that name already",
                        next=f"leave {name!r} out of --metric",
                    )
                found[key] = mine[key] = value
        return mine
