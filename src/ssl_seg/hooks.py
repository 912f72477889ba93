"""Every point where a plugin meets the library.

A plugin is a module with functions marked `@hookimpl`. The five component hooks return factories
by name; the three observers watch a run. The built-in components use exactly these.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ssl_seg.run import Run

GROUP = "ssl_seg"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

Factories = Mapping[str, Callable[..., Any]]


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
def run_start(run: "Run") -> None:
    """A run begins or goes on; its folder and `run.toml` exist."""


@hookspec
def epoch_end(run: "Run", epoch: int, scores: Mapping[str, float]) -> None:
    """An epoch (from 1) is over and `scores` have been appended to `scores.jsonl`."""


@hookspec
def run_end(run: "Run") -> None:
    """All steps are done and the results are written."""
