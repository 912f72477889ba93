"""What a study still has to do, and how long that takes by what similar runs have shown."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ssl_seg.errors import SslSegError
from ssl_seg.results.scores import read_scores
from ssl_seg.study.planner import Study
from ssl_seg.utils.text import duration, size_text
from ssl_seg.utils.toml import read_toml


def forecast(plan: Study, sam: bool) -> Iterator[str]:
    """What would be run, in order, and what it takes as far as runs of its kind have shown.

    Args:
        sam: whether SAM is asked at the end.
    """
    seconds, room, unknown = 0.0, 0, 0
    for job in plan.jobs:
        line = f"{job.state:<8}  {job.folder}  {job.name}"
        if job.state != "finished":
            seen = [pace for each in plan.jobs if each.kind == job.kind and (pace := _pace(each.folder))]
            if seen:
                per_epoch, epochs, size = max(seen, key=lambda pace: pace[2])
                done = len(read_scores(job.folder))
                left, more = per_epoch * (epochs - done), max(0, size - _size(job.folder))
                seconds, room = seconds + left, room + more
                line += f", about {duration(left)} and {size_text(more)}"
            else:
                unknown += 1
        why = plan.changes(job)
        yield f"{line} ({why})" if why else line
    todo = sum(job.state != "finished" for job in plan.jobs)
    yield ""
    yield f"{todo} of {len(plan.jobs)} runs remaining"
    if todo > unknown:
        yield f"about {duration(seconds)} and {size_text(room)} for {todo - unknown} of them"
    if unknown:
        yield f"no estimate for {unknown}: no comparable run has finished an epoch"
    if plan.file.report:
        segments = ", SAM segments" if sam else ""
        yield f"then: tables, figures{segments} and report.html"
    place = plan.file.out.absolute()
    free = shutil.disk_usage(next(each for each in [place, *place.parents] if each.exists())).free
    yield f"{size_text(free)} free"


def _pace(folder: Path) -> tuple[float, int, int] | None:
    """Seconds of an epoch, epochs to do, and bytes of the folder, if the run has ended an epoch."""
    with suppress(SslSegError, LookupError, ValueError, TypeError):
        scores, epochs = read_scores(folder), read_toml(folder / "run.toml")["epochs"]
        return scores[-1]["seconds"] / len(scores), int(epochs), _size(folder)
    return None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
