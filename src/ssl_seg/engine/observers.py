"""Observers of a training loop that are objects instead of plugins."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ssl_seg.engine.run_dir import Run


class Observers:
    """Calls the observers of a run; an error in one ends the run, as it is the caller's own code.

    Args:
        observers: objects with some of `run_start`, `step_end`, `epoch_end` and `run_end`, each with some
            of the arguments that `ssl_seg.hooks` states.
        run: passed to them.
    """

    def __init__(self, observers: Sequence[object], run: Run) -> None:
        self._observers, self._run = list(observers), run
        self._watch_steps = any(hasattr(observer, "step_end") for observer in self._observers)

    def run_start(self) -> None:
        """Announce the start."""
        self._call("run_start")

    def step_end(self, step: int, out: Mapping[str, Tensor]) -> None:
        """Pass on the scalars of a step (from 1), detached; reading one waits for the device."""
        if self._watch_steps:
            scores = {name: value.detach() for name, value in out.items() if value.ndim == 0}
            self._call("step_end", step=step, scores=scores)

    def epoch_end(self, epoch: int, scores: Mapping[str, float]) -> bool:
        """Pass on the scores of an epoch (from 1); whether an observer returned `"stop"`."""
        return "stop" in self._call("epoch_end", epoch=epoch, scores=scores)

    def run_end(self) -> None:
        """Announce the end."""
        self._call("run_end")

    def _call(self, hook: str, **values: Any) -> list[str]:
        """Call a hook of all observers; returns the texts that they return."""
        returned = []
        for observer in self._observers:
            if method := getattr(observer, hook, None):
                arguments = {"run": self._run, **values}
                returned.append(
                    method(**{name: arguments[name] for name in inspect.signature(method).parameters})
                )
        return [each for each in returned if isinstance(each, str)]
