"""The metrics that somebody wants besides a command's own: `--metric`."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ssl_seg.base import Metric
from ssl_seg.errors import PluginError
from ssl_seg.nn.contracts import numbers_of
from ssl_seg.utils.entry_points import short_error
from ssl_seg.utils.foreign import owner_of


class MetricCollection:
    """Some metrics as one.

    Args:
        metrics: by their names.
        classes: names of the classes.
        pixels: logits are (B, classes, H, W) and not (B, classes).

    Raises:
        PluginError: a metric takes no logits of this kind.
    """

    def __init__(self, metrics: Mapping[str, Metric], classes: Sequence[str], *, pixels: bool) -> None:
        self.metrics = metrics
        shape = (2, 2) if pixels else ()
        for name, metric in metrics.items():  # now, and not after an epoch
            try:
                metric.update(torch.zeros(2, len(classes), *shape), torch.zeros(2, *shape, dtype=torch.int64))
                numbers_of(metric)
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(
                    f"the {owner_of(metric) or f'metric {name!r}'} cannot be measured on the logits of "
                    f"{'pixels' if pixels else 'images'}: {short_error(error)}",
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

    def compute(self, taken: Iterable[str] = ()) -> dict[str, float]:
        """The numbers by name.

        Raises:
            PluginError: two have the same name, or one has one of those that are `taken`.
        """
        names = set(taken)
        numbers: dict[str, float] = {}
        for metric_name, metric in self.metrics.items():
            for name, value in numbers_of(metric).items():
                if name in names:
                    raise PluginError(
                        f"the metric {metric_name!r} gives a number {name!r}, and there is one of that name already",
                        next=f"leave {metric_name!r} out of --metric",
                    )
                names.add(name)
                numbers[name] = value
        return numbers
