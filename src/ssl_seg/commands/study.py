"""`ssl-seg study`: stages over several seeds, tables and a report."""

from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Annotated, Literal

import typer

from ssl_seg.commands.stage_flags import flag_validator
from ssl_seg.errors import ResourceError, SslSegError, UsageError
from ssl_seg.study.config import StudyConfig
from ssl_seg.study.planner import FailedJob, StudyPlan
from ssl_seg.study.runner import PYTHON_COMMAND, JobRunner, run_locked, study_lock
from ssl_seg.utils.lock import OpenFolder
from ssl_seg.utils.outputs import output_paths
from ssl_seg.utils.progress import ProgressDisplay, echo
from ssl_seg.utils.text import listed
from ssl_seg.workflows.study_components import check_components, missing_paths
from ssl_seg.workflows.study_report import sam_arguments, write_study_report


def study(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="Study file: stages, flags, seeds.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the planned runs and exit.")] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Start Python anew for each run: slower, same results.")
    ] = False,
    launcher: Annotated[
        Literal["local", "slurm", "ray"],
        typer.Option(help="Where runs take place: here, one by one, or on a SLURM or Ray cluster."),
    ] = "local",
) -> None:
    """Run all stages of a study for every seed.

    Writes score tables, figures and report.html. Finished runs are not repeated: after an interruption,
    run the same command again.
    """
    from ssl_seg.results.pretraining import read_rows
    from ssl_seg.results.tables import Table

    plan = StudyPlan(StudyConfig(file), flag_validator(context))
    check_components(plan.file)
    # a cluster may have images that are not here
    missing = list(missing_paths(plan.file)) if launcher == "local" else []
    _check_tables(plan.file)
    sam = sam_arguments(plan.file, getattr(context.find_root().command, "commands", {}))
    if dry_run:
        from ssl_seg.study.estimate import estimate_study

        echo(*estimate_study(plan, sam is not None), *(f"{error}: {error.where}" for error in missing))
        return
    if missing:
        raise missing[0]
    progress, out = ProgressDisplay(), plan.file.out
    unwritten: list[ResourceError] = []
    with study_lock(out, f"ssl-seg study {file}") as folder_lock:
        unfinished = _run(plan, launcher, folder_lock, progress.print_line, isolate)
        for table in plan.file.tables:
            stages = [(plan.file.stages[name], plan.folders(name)) for name in table.rows]
            scores = Table(read_rows(stages, table.score), table.score, table.baseline)
            scores.write(out, table.name)
            echo(*scores.text().split("\n"))
            progress.print_line(f"table: {out / table.name}.txt, .md, .tex, .csv")
        if plan.file.report:
            unwritten = write_study_report(
                plan, progress.print_line, None if sam is None else [*PYTHON_COMMAND, "sam", *sam]
            )
    failed = [each for each in unfinished if each.code]
    if failed:
        error = SslSegError(
            f"{len(failed)} of {len(plan.jobs)} runs failed, {len(unfinished) - len(failed)} skipped because they depend on them",
            where=listed(f"{each.job.folder / 'run.log'}: code {each.code}" for each in failed[:5]),
            next=f"ssl-seg study {file}  # runs what is not finished",
        )
        error.code = failed[0].code
        raise error
    if unwritten:
        unwritten[0].next = f"ssl-seg study {file}"
        raise unwritten[0]


def _run(
    plan: StudyPlan,
    launcher: Literal["local", "slurm", "ray"],
    folder_lock: OpenFolder,
    log: Callable[[str], None],
    isolate: bool,
) -> list[FailedJob]:
    """Run what is not finished; returns the jobs that failed or were skipped."""

    def write_plan() -> None:
        for job in plan.jobs:
            if reason := plan.changed_inputs(job):
                log(f"{job.name}: {reason}")
        plan.write()

    out = plan.file.out
    if launcher == "local":
        with JobRunner(out, f"ssl-seg study {plan.file.path}", log, isolate=isolate) as runner:
            write_plan()
            return plan.run(lambda job: run_locked(folder_lock, runner, job), log)
    from ssl_seg.study.launchers import open_launcher, run_on

    remote = open_launcher(launcher, out / "launcher", plan.file.flags("launcher"))
    write_plan()
    return run_on(remote, plan, log, folder_lock.check)


def _check_tables(file: StudyConfig) -> None:
    """Each table must have files of its own, in the study's folder.

    Raises:
        UsageError: one has not.
    """
    from ssl_seg.results.tables import ENDINGS

    named = [(f"{table.name}{ending}", table.name) for table in file.tables for ending in ENDINGS]
    named += [("report.md", "the report"), ("report_tables.tex", "the report")]
    for table in file.tables:
        if PurePath(table.name).name != table.name:
            where = file.location("tables", table.name)
            raise UsageError(f"invalid table name {table.name!r}", where=where, next="[tables.main]")
    try:
        output_paths(file.out, [name for name, _ in named], [owner for _, owner in named])
    except UsageError as error:
        error.where, error.next = file.location("tables"), "another name of the table"
        raise
