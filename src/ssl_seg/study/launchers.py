"""Runs of a study on other machines: each is a job of SLURM, by submitit, or a task of Ray.

All machines share the study's folder and have the same environment. Whatever does not depend on each other runs at the
same time; results are those of one run after another.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, Protocol

from ssl_seg.errors import UsageError
from ssl_seg.study.planner import FailedJob, Job, StudyPlan
from ssl_seg.study.runner import PYTHON_COMMAND
from ssl_seg.utils.child_process import run_child
from ssl_seg.utils.extras import require
from ssl_seg.utils.interrupt import Interrupted, handlers_kept, interruptible, unblocked
from ssl_seg.utils.timeout import timeout_seconds

CLUSTER = "slurm"  # of submitit, which can also start programs on this machine
LOST = 8  # exit code of a run whose machine or process is gone
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 60.0  # until a file of another machine is seen, on a network disk
_MINUTES = 24 * 60  # time limit of a job; submitit's own is five minutes

LauncherName = Literal["slurm", "ray"]


class RemoteRun(Protocol):
    """A run that was sent to a launcher; `name` is what the launcher calls it."""

    name: str

    def poll(self) -> int | None:
        """The exit code; None while it waits or runs."""

    def cancel(self) -> None:
        """Ask it to save and to end."""


class Launcher(Protocol):
    """Starts programs somewhere."""

    def submit(self, words: Sequence[str]) -> RemoteRun:
        """Start a program in the current folder."""


def open_launcher(name: LauncherName, folder: Path, options: Mapping[str, Any]) -> Launcher:
    """A launcher by name.

    Args:
        folder: for its logs.
        options: of each run: parameters of submitit's executor (`slurm_partition`, `gpus_per_node`) or of Ray's tasks
            (`num_gpus`).

    Raises:
        UsageError: it is not installed, not there, or does not know an option.
    """
    require(f"--launcher {name}", [{"slurm": "submitit", "ray": "ray"}[name]], f"'ssl-seg[{name}]'")
    try:
        return SlurmLauncher(folder, options) if name == "slurm" else RayLauncher(options)
    except Exception as error:  # submitit and Ray raise many kinds
        raise UsageError(
            f"--launcher {name}: {' '.join(str(error).split())}",
            next="--launcher local, or other options in the table [launcher] of the study file",
        ) from error


def run_on(
    launcher: Launcher, plan: StudyPlan, log: Callable[[str], None], check: Callable[[], None]
) -> list[FailedJob]:
    """Run all unfinished jobs, each as soon as those it depends on are finished; see `StudyPlan.run`.

    Whatever ends this function ends the runs, which save first.

    Args:
        check: called again and again; may raise.
    """
    failed: list[FailedJob] = []
    left, running = list(plan.jobs), list[tuple[Job, RemoteRun]]()
    try:
        while left or running:
            check()
            busy = [*left, *(job for job, _ in running)]
            for job in [job for job in left if not any(other in busy for other in job.depends_on)]:
                left.remove(job)
                if plan.needs_run(job, failed, log):
                    run = launcher.submit([*PYTHON_COMMAND, *job.words])
                    running.append((job, run))
                    log(f"{plan.heading(job)}: {run.name}, in {job.folder}")
            for job, run in list(running):
                if (code := run.poll()) is not None:
                    running.remove((job, run))
                    plan.note_end(job, _settled(job, code), failed, log)
            if running:
                sleep(_POLL_SECONDS)
    except BaseException:
        _cancel([run for _, run in running])
        raise
    return failed


def _settled(job: Job, code: int) -> int:
    """The exit code, once the disk shows what the run has left."""
    deadline = monotonic() + _SETTLE_SECONDS
    while code == 0 and job.state != "finished" and monotonic() < deadline:
        sleep(_POLL_SECONDS)
    return code


def _cancel(runs: Sequence[RemoteRun]) -> None:
    for run in runs:
        with suppress(Exception):  # it has ended meanwhile
            run.cancel()
    deadline = monotonic() + timeout_seconds()
    while any(run.poll() is None for run in runs) and monotonic() < deadline:
        sleep(_POLL_SECONDS)


def run_program(words: Sequence[str], folder: str) -> int:
    """Run a program in a folder to its end, on the machine that calls this; a signal is passed on to it.

    Returns:
        Its exit code.
    """
    try:
        with interruptible(), unblocked():  # Ray's tasks block SIGINT
            return run_child(words, folder)
    except Interrupted as error:
        return 128 + error.signal


class SlurmLauncher:
    """Jobs of SLURM. With `tasks_per_node` in the options, the processes of a job train together."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        import submitit

        self._executor = submitit.AutoExecutor(folder=folder, cluster=CLUSTER)
        self._executor.update_parameters(**{"name": "ssl-seg", "timeout_min": _MINUTES, **options})

    def submit(self, words: Sequence[str]) -> RemoteRun:
        return _SlurmRun(self._executor.submit(run_program, words, os.getcwd()))


class _SlurmRun:
    def __init__(self, job: Any) -> None:
        self._job, self.name = job, f"job {job.job_id}"

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(max(self._job.results()))
        except Exception:  # submitit raises many kinds; its log says why
            return LOST

    def cancel(self) -> None:
        self._job.cancel(check=False)


class RayLauncher:
    """Tasks of Ray, on the cluster that `RAY_ADDRESS` or this machine has, else on one that is started here."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        import ray

        self._ray = ray
        with handlers_kept():  # Ray's own end the process at SIGTERM, before runs are asked to save
            ray.init(configure_logging=False, log_to_driver=False, ignore_reinit_error=True)
        self._program = ray.remote(**{"num_cpus": 1, "max_retries": 0, **options})(run_program)

    def submit(self, words: Sequence[str]) -> RemoteRun:
        return _RayRun(self._ray, self._program.remote(list(words), os.getcwd()))


class _RayRun:
    def __init__(self, ray: Any, task: Any) -> None:
        self._ray, self._task, self.name = ray, task, f"task {task.hex()[:8]}"

    def poll(self) -> int | None:
        if not self._ray.wait([self._task], timeout=0)[0]:
            return None
        try:
            return int(self._ray.get(self._task, timeout=timeout_seconds()))
        except Exception:  # Ray raises many kinds; its dashboard says why
            return LOST

    def cancel(self) -> None:
        self._ray.cancel(self._task)
