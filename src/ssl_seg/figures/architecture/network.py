"""A network as a drawing tells it: its parts, in the order of the data, with their numbers."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

IMAGE = "image"  # what the first part takes
Kind = Literal["image", "stage", "layer", "pooling", "upsampling"]


@dataclass(frozen=True)
class Part:
    """One box: a stage of the backbone, or a layer or block of the head.

    Attributes:
        name: unique in its network: `stage 3`, `fc6`, `classifier.0.convs.1`.
        label: how a drawing calls it; may be empty.
        what: it is made of: `3 × Bottleneck`, `conv 3×3`.
        kind: what it does to its maps, for the colour.
        shape: of its result for one image: (channels, height, width), or (channels,).
        parameters: those of its layers, or that it is the first to use.
        macs: multiply-accumulates for one image: of convolutions and matrix products.
        layers: how many convolutions and linear layers run.
        dilation: the largest of its convolutions.
        stride: image pixels per step of its map; None in a head.
        takes: names of the parts whose results it takes, or `IMAGE`.
    """

    name: str
    label: str
    what: str
    kind: Kind
    shape: tuple[int, ...]
    parameters: int = 0
    macs: int = 0
    layers: int = 0
    dilation: int = 1
    stride: int | None = None
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A backbone and the head on it.

    Attributes:
        title: what it is called.
        size: height and width of the image.
        stages: one for each map of the pyramid, shallow to deep.
        head: columns in the order of the data; parts of one column are branches side by side.
        channels: of the image.
        unused: parameters that no part uses in evaluation, as those of an auxiliary head.
    """

    title: str
    size: tuple[int, int]
    stages: tuple[Part, ...]
    head: tuple[tuple[Part, ...], ...] = ()
    unused: int = 0
    channels: int = 3

    def parts(self) -> list[Part]:
        """All parts, stages first."""
        return [*self.stages, *(part for column in self.head for part in column)]

    @property
    def parameters(self) -> int:
        """Of everything, with those that are not used."""
        return sum(part.parameters for part in self.parts()) + self.unused

    @property
    def macs(self) -> int:
        """Of one image."""
        return sum(part.macs for part in self.parts())

    def numbers(self) -> dict[str, Any]:
        """All of it for a JSON file, with the totals."""
        return {"parameters": self.parameters, "macs": self.macs, **asdict(self)}
