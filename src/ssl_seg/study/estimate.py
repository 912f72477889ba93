"""Estimate of the time and disk space that the remaining runs of a study need."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ssl_seg.errors import SslSegError
from ssl_seg.results.planned_epochs import planned_epochs
from ssl_seg.results.scores import read_scores
from ssl_seg.study.planner import StudyPlan
from ssl_seg.utils.text import format_duration, size_text


def estimate_study(plan: StudyPlan, sam: bool) -> Iterator[str]:
    """Yield the planned runs in order, with time and disk space estimated from comparable runs.

    Args:
        sam: whether SAM runs at the end.
    """
    seconds, num_bytes, unknown = 0.0, 0, 0
    for job in plan.jobs:
        line = f"{job.state:<8}  {job.folder}  {job.name}"
        if job.state != "finished":
            costs = [
                cost for each in plan.jobs if each.kind == job.kind and (cost := _epoch_cost(each.folder))
            ]
            if costs:
                per_epoch, epochs, size = max(costs, key=lambda cost: cost[2])
                done = len(read_scores(job.folder))
                left, more = per_epoch * (epochs - done), max(0, size - _folder_size(job.folder))
                seconds, num_bytes = seconds + left, num_bytes + more
                line += f", about {format_duration(left)} and {size_text(more)}"
            else:
                unknown += 1
        reason = plan.changed_inputs(job)
        yield f"{line} ({reason})" if reason else line
    todo = sum(job.state != "finished" for job in plan.jobs)
    yield ""
    yield f"{todo} of {len(plan.jobs)} runs remaining"
    if todo > unknown:
        yield f"about {format_duration(seconds)} and {size_text(num_bytes)} for {todo - unknown} of them"
    if unknown:
        yield f"no estimate for {unknown}: no comparable run has finished an epoch"
    if plan.file.report:
        segments = ", SAM segments" if sam else ""
        yield f"then: tables, figures{segments} and report.html"
    out = plan.file.out.absolute()
    free = shutil.disk_usage(next(each for each in [out, *out.parents] if each.exists())).free
    yield f"{size_text(free)} free"


def _epoch_cost(folder: Path) -> tuple[float, int, int] | None:
    """Return seconds per epoch, planned epochs and bytes of the folder; None before the first epoch ends."""
    with suppress(SslSegError, LookupError, ValueError, TypeError):
        scores = read_scores(folder)
        if epochs := planned_epochs(folder):
            return scores[-1]["seconds"] / len(scores), epochs, _folder_size(folder)
    return None


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
