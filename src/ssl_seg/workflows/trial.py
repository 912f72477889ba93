"""A run that is tried and not made: all of it is real but its folder, which is a temporary one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ssl_seg.engine.schedule import Schedule
    from ssl_seg.engine.side_stream import BatchFn
    from ssl_seg.workflows.config import RunConfig


class TrialEnded(Exception):
    """The trial is over: nothing that follows training is done."""


class Trial(Protocol):
    """What is done with the training of a run, in place of all its steps.

    Attributes:
        quiet: whether lines and warnings of the run are left out.
    """

    quiet: bool

    def run(
        self,
        fit: Callable[..., int],
        module: "nn.Module",
        batches: "BatchFn",
        optimizer: "Optimizer",
        schedule: "Schedule",
        options: dict[str, Any],
    ) -> None:
        """Train a little; `fit` and what it is called with are those of the run, `options` its keywords."""

    def lines(self) -> list[str]:
        """What was found, for people."""


_TRIAL: ContextVar[Trial | None] = ContextVar("trial", default=None)


@contextmanager
def trying(trial: Trial) -> Iterator[None]:
    """The runs that are started inside are tried."""
    token = _TRIAL.set(trial)
    try:
        yield
    finally:
        _TRIAL.reset(token)


def trial_of(config: "RunConfig") -> Trial | None:
    """The trial that settings or a caller ask for; None for a run."""
    if (trial := _TRIAL.get()) is not None or not config.dry_run:
        return trial
    from ssl_seg.workflows.dry_run import DryRun

    return DryRun(config)


@contextmanager
def run_folder_of(folder: Path, trial: Trial | None) -> Iterator[Path]:
    """The folder in which a run takes place: that of a trial is removed."""
    if trial is None:
        yield folder
        return
    with TemporaryDirectory(prefix="ssl-seg-trial-") as temporary:
        yield Path(temporary)
