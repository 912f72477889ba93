"""All extension points of the library.

A plugin is a module with functions marked `@hookimpl`. The five component hooks return factories
by name; the four observers follow a run. The built-in components use the same hooks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pluggy

GROUP = "ssl_seg"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

Factories = Mapping[str, Callable[..., Any]]


class ObservedRun(Protocol):
    """The part of `ssl_seg.Run` that observers may use.

    Attributes:
        folder: output folder of the run.
        command: `train`, `classify` or `segment`.
    """

    folder: Path
    command: str

    def settings(self) -> dict[str, Any]:
        """The content of `run.toml`."""

    def scores(self) -> list[dict[str, float]]:
        """All lines of `scores.jsonl`."""


@hookspec
def ssl_methods() -> Factories:
    """Methods by name: `factory(backbone, *, option=default, ...) -> SSLMethod`."""
    raise NotImplementedError


@hookspec
def backbones() -> Factories:
    """Backbones by name: `factory(*, option=default, ...) -> Backbone`."""
    raise NotImplementedError


@hookspec
def heads() -> Factories:
    """Heads by name: `factory(channels, strides, classes, *, option=default, ...) -> Head`."""
    raise NotImplementedError


@hookspec
def datasets() -> Factories:
    """Dataset formats by name: `factory(root, split, *, option=default, ...) -> Dataset`."""
    raise NotImplementedError


@hookspec
def metrics() -> Factories:
    """Metrics by name: `factory(classes, *, option=default, ...) -> Metric`."""
    raise NotImplementedError


@hookspec
def run_start(run: ObservedRun) -> None:
    """Called when a run starts or resumes; its folder and `run.toml` exist."""


@hookspec
def step_end(run: ObservedRun, step: int, scores: Mapping[str, Any]) -> None:
    """Called after each step (1-based); `scores` are its scalars, on the device.

    `scores` are tensors without gradient: reading one, for example with `float`, waits for the device.
    """


@hookspec
def epoch_end(run: ObservedRun, epoch: int, scores: Mapping[str, float]) -> str | None:
    """Called after each epoch (1-based); `scores` have been appended to `scores.jsonl`.

    Returns:
        `"stop"` ends the run after this epoch.
    """


@hookspec
def run_end(run: ObservedRun) -> None:
    """Called after the last step; the results have been written."""
