"""What a dry run says of a run: shapes, parameters, memory and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssl_seg.errors import pluralize
from ssl_seg.utils.text import brief, format_duration, size_text


@dataclass(frozen=True)
class Forecast:
    """What a dry run has measured.

    Attributes:
        device: on which.
        inputs: shapes of the tensors of a micro-batch.
        outputs: name -> shapes: of `backbone`, `head`, and of what a method returns.
        parameters: numbers of parameters: `in the backbone`, `in all`, `trained`.
        memory: bytes: the peak of the GPU; elsewhere `activations` and all else that training holds.
        activations: bytes of a micro-batch that the backward pass needs; 0 where they are not counted.
        measured: whether `memory` is measured, and not estimated.
        checkpoint: bytes of a checkpoint.
        device_memory: bytes of the GPU; 0 elsewhere.
        batch_size: images of a step.
        step_seconds: median time of a step.
        steps, steps_per_epoch, epochs: of the run.
        validation_seconds: of one validation or probe; 0 without one.
        validations: how many there are.
    """

    device: str
    inputs: list[tuple[int, ...]]
    outputs: Mapping[str, list[tuple[int, ...]]]
    parameters: Mapping[str, int]
    memory: int
    activations: int
    measured: bool
    checkpoint: int
    device_memory: int
    batch_size: int
    step_seconds: float
    steps: int
    steps_per_epoch: int
    epochs: int
    validation_seconds: float
    validations: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.step_seconds * self.steps + self.validation_seconds * self.validations

    def memory_of(self, batch_size: int) -> float:
        """Bytes with another batch size: activations are in proportion to it."""
        return self.memory + self.activations * (batch_size / self.batch_size - 1)

    def lines(self) -> list[str]:
        """For people."""
        parameters = ", ".join(f"{brief(count)} {name}" for name, count in self.parameters.items())
        memory = (
            "peak on the GPU" if self.measured else "estimated: weights, gradients, optimizer, activations"
        )
        images = self.batch_size / max(1e-9, self.step_seconds)
        steps = f"{pluralize(self.steps, 'step')} in {pluralize(self.epochs, 'epoch')}"
        training = f"training {format_duration(self.step_seconds * self.steps)}"
        once = f"{pluralize(self.validations, 'validation')} of {self.validation_seconds:.2g} s"
        validation = f", {once}" if self.validation_seconds else ""
        return [
            f"device: {self.device}",
            f"input: {_shown(self.inputs)}",
            *(f"output of the {name}: {_shown(shapes)}" for name, shapes in self.outputs.items()),
            f"parameters: {parameters}",
            f"memory: {size_text(self.memory)} ({memory})",
            f"disk: {size_text(self.checkpoint)} a checkpoint",
            f"speed: {self.step_seconds:.3g} s a step, {images:.1f} images/s",
            f"forecast: {format_duration(self.seconds)} ({steps}: {training}{validation})",
        ]


def _shown(shapes: Sequence[tuple[int, ...]]) -> str:
    """`2 of 64 x 3 x 128 x 128, 64`."""
    texts = {" x ".join(map(str, shape)): shapes.count(shape) for shape in shapes}
    return ", ".join(f"{count} of {text}" if count > 1 else text for text, count in texts.items())
