"""Weights that others have published: a file in a cache or on the network, and what its publishers say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_seg.base import Backbone
from ssl_seg.weights.readers import read_tensors, resolve_weight_file


@dataclass(frozen=True)
class PublishedWeights:
    """Weights by name.

    Attributes:
        name: complete, as it is recorded: `timm:resnet50.a1_in1k`.
        metadata: `backbone`, `options`, `image_size`, `mean`, `std` and `license`; the keys are those in the
            header of a weight file.
        fetch: gives the file, from a cache or from the network.
        timm_config: of a file that timm's loader reads; None where its tensors have the backbone's names.
    """

    name: str
    metadata: Mapping[str, Any]
    fetch: Callable[[], Path]
    timm_config: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return self.name

    def read(self, backbone: Backbone | None) -> tuple[Path, dict[str, Tensor]]:
        """The file, and its tensors under timm's names, with the position embeddings that a backbone needs.

        Args:
            backbone: that gets them; None: the tensors as they are in the file.

        Raises:
            WeightsError: it cannot be downloaded or read.
        """
        file = self.fetch()
        tensors, _ = read_tensors(file)
        if self.timm_config is None or backbone is None:
            return file, tensors
        from ssl_seg.weights.timm_weights import as_timm_loads

        return file, as_timm_loads(tensors, self.timm_config, backbone)


def tensors_of(weights: Path | PublishedWeights) -> dict[str, Tensor]:
    """All tensors of a weight file under the names that they have there, those of a classifier too.

    Raises:
        WeightsError: it cannot be read or downloaded.
    """
    file = weights.fetch() if isinstance(weights, PublishedWeights) else resolve_weight_file(weights)
    return read_tensors(file)[0]
