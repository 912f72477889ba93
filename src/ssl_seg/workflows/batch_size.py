"""`--batch-size auto`: the largest batch that fits, found by trying the run itself."""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ssl_seg.distributed.launcher import world_size_from_env
from ssl_seg.engine.run_settings import read_settings
from ssl_seg.errors import ResourceError, UsageError, is_out_of_memory
from ssl_seg.utils.memory import available_memory
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.utils.text import size_text
from ssl_seg.workflows.config import AUTO, ClassificationConfig, PretrainConfig, SegmentationConfig
from ssl_seg.workflows.trial import trying

if TYPE_CHECKING:
    from ssl_seg.workflows.forecast import Forecast

C = TypeVar("C", PretrainConfig, ClassificationConfig, SegmentationConfig)

_FIRST = 8  # images of the first trial: enough for methods that split a batch
_MOST = 4096  # no published recipe has more
_MOST_ON_CPU = 256  # larger ones are no faster there
_SHARE, _SHARE_OF_GPU = 0.5, 0.9  # of the memory that a batch may need


def with_batch_size(config: C, start: Callable[..., object], folder: Path, *, resume: bool) -> C:
    """Settings with a number in place of `auto`, so that what follows does not depend on how it was found.

    A batch has a power of two times `--accumulate` images, and no more than there are. On a GPU it is doubled
    until two steps of the run exceed 90 % of the memory. Elsewhere it is the largest of up to 256 whose estimate,
    see `Forecast`, is below half of the available memory. A resumed run has the number that it was started with.

    Args:
        start: starts the run of some settings in a folder; with `resume`.

    Raises:
        UsageError: there are several processes. ResourceError: not even the smallest batch fits.
    """
    if config.batch_size != AUTO:
        return config
    if resume:
        return replace(config, batch_size=read_settings(folder)["batch_size"])
    if world_size_from_env() > 1:
        raise UsageError("--batch-size auto is found in one process", next="--batch-size 64")
    size = config.accumulate
    while size < max(2, _FIRST):
        size *= 2
    first = _forecast(replace(config, batch_size=size), start, folder)
    if first is None:
        raise ResourceError(f"out of memory with {size} images in a batch", next="a smaller --image-size")
    images = first.steps_per_epoch * size  # at least; of what remains there are fewer than `size`
    if first.measured:
        while 2 * size <= min(images, _MOST) and _forecast(
            replace(config, batch_size=2 * size), start, folder
        ):
            size *= 2
        rule = "the largest power of two that fits in the GPU's memory"
    else:
        allowed = _SHARE * available_memory()
        while 2 * size <= min(images, _MOST_ON_CPU) and first.memory_of(2 * size) <= allowed:
            size *= 2
        rule = f"estimated {size_text(first.memory_of(size))}, of {size_text(allowed)} that may be used"
    limit = min(images, _MOST if first.measured else _MOST_ON_CPU)
    reason = f"there are fewer than {2 * size} images" if limit == images else "the most that is tried"
    ProgressDisplay().print_line(f"batch size: {size} ({reason if 2 * size > limit else rule})")
    return replace(config, batch_size=size)


def _forecast(config: C, start: Callable[..., object], folder: Path) -> "Forecast | None":
    """What two steps of a run say of it; None if they need too much memory."""
    from ssl_seg.workflows.dry_run import DryRun

    trial = DryRun(config, steps=2, validates=False, quiet=True)
    _release()
    try:
        with trying(trial):
            start(config, folder, resume=False)
    except ResourceError as error:
        if error.__cause__ is None or not is_out_of_memory(error.__cause__):
            raise
    found = trial.forecast
    _release()
    if found is None or (found.measured and found.memory > _SHARE_OF_GPU * found.device_memory):
        return None
    return found


def _release() -> None:
    """Give back what a trial held on the GPU, and forget its peak."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        with suppress(RuntimeError):  # nothing was computed there yet
            torch.cuda.reset_peak_memory_stats()
