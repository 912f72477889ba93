"""Figures and report of a finished study."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import ResourceError, SslSegError, UsageError
from ssl_seg.utils.child_process import run_child
from ssl_seg.utils.code_names import names_code

if TYPE_CHECKING:
    from ssl_seg.study.config import StageConfig, StudyConfig
    from ssl_seg.study.planner import StudyPlan


def write_study_report(
    plan: "StudyPlan", log: Callable[[str], None], sam: list[str] | None
) -> list[ResourceError]:
    """Draw the figures of finished runs in the study's tables, and write `report.html`.

    A figure that is newer than its sources is kept. If one cannot be drawn, the others still are.

    Args:
        plan: of a study whose runs have ended.
        log: called with one line per output and per missing part.
        sam: the command that runs SAM, without the runs; None without the package.

    Returns:
        Why outputs could not be written, because of the disk or a permission.
    """
    from ssl_seg.workflows.confusion_figure import draw_confusion_of_run
    from ssl_seg.workflows.mask_figure import draw_masks
    from ssl_seg.workflows.tsne_figure import draw_tsne

    unwritten: list[ResourceError] = []

    def attempt(draw: Callable[[], Iterable[str]]) -> None:
        try:
            for line in draw():
                log(line)
        except SslSegError as error:
            log(f"skipped: {error.what}")
            if isinstance(error, ResourceError):
                unwritten.append(error)

    run_of_stage = {name: next(iter(found)) for name, found in _runs_of(plan).items() if found}
    for name in _stages_with_tsne([plan.file.stages[name] for name in run_of_stage], plan):
        features = run_of_stage[name] / "features"
        if _outdated(run_of_stage[name] / "figures" / "tsne.json", features.glob("*.npz")):
            attempt(lambda folder=run_of_stage[name]: _figure(draw_tsne(folder).paths))  # type: ignore[misc]
    for folder in run_of_stage.values():
        if _outdated(folder / "figures" / "masks.svg", folder.glob("masks.json")):
            attempt(lambda folder=folder: _figure(draw_masks([folder])[0]))  # type: ignore[misc]
        if _outdated(folder / "figures" / "confusion.svg", folder.glob("confusion.csv")):
            attempt(lambda folder=folder: _figure(draw_confusion_of_run(folder)))  # type: ignore[misc]
    segmented = [
        folder for name, folder in run_of_stage.items() if plan.file.stages[name].command == "segment"
    ]
    if segmented:
        code = _parts_from_files([job.flags for job in plan.jobs])
        attempt(lambda: _figure(_draw_networks(plan.file.out / "figures" / "architecture", segmented, code)))
    if sam:
        _run_sam(sam, [folder for folder in segmented if any(folder.glob("masks/images/**/*.png"))], log)
    attempt(lambda: _report(plan.file.out))
    return unwritten


def _figure(paths: Iterable[Path]) -> list[str]:
    return [f"figure: {', '.join(map(str, paths))}"]


def _report(folder: Path) -> list[str]:
    from ssl_seg.workflows.report import write_report

    written = write_report([folder])
    return [
        f"report: {written.path}",
        *(f"missing: {part}  ->  {command}" for part, command in written.missing),
    ]


def _runs_of(plan: "StudyPlan") -> dict[str, list[Path]]:
    """Row of a table -> folders of its finished runs."""
    rows = dict.fromkeys(row for table in plan.file.tables for row in table.rows)
    return {row: list(plan.folders(row).values()) for row in rows}


def _stages_with_tsne(stages: list["StageConfig"], plan: "StudyPlan") -> list[str]:
    """Stages that get t-SNE maps: pre-trained and then fully fine-tuned ones, else the first classifier."""
    classifiers = [stage for stage in stages if stage.command == "classify"]
    selected = [
        stage.name
        for stage in classifiers
        if not stage.flags.get("freeze")
        and any(plan.file.stages[name].command == "train" for name in stage.references.values())
    ]
    return selected or [stage.name for stage in classifiers[:1]]


def _parts_from_files(jobs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Backbones and heads that the study, a file of the user, takes from Python files."""
    return {
        part: [str(flags[part]) for flags in jobs if names_code(flags.get(part))]
        for part in ("backbone", "head")
    }


def _draw_networks(stem: Path, runs: list[Path], code: Mapping[str, list[str]]) -> list[Path]:
    """Draw the architectures of runs on a common scale, equal ones once."""
    from ssl_seg.weights.model_file import read_model_metadata
    from ssl_seg.workflows.architecture_figure import draw_networks

    found: dict[str, Path] = {}
    for run in runs:
        metadata = read_model_metadata(run / "model.safetensors")
        parts = {key: metadata.get(key) for key in ("backbone", "head", "options", "image_size")}
        found.setdefault(json.dumps(parts, sort_keys=True), run)
    return draw_networks(
        [str(run) for run in found.values()],
        out=stem,
        backbone=code["backbone"],
        head=code["head"],
    )[1]


def sam_arguments(file: "StudyConfig", commands: Iterable[str]) -> list[str] | None:
    """The table `[sam]` as arguments of `ssl-seg sam`; None without that command or without segmentation stages.

    Args:
        file: of the study.
        commands: names of all commands.

    Raises:
        UsageError: a flag that has no single value.
    """
    if "sam" not in commands or not any(stage.command == "segment" for stage in file.stages.values()):
        return None
    # commands of other packages are loaded when called: the parameters are not known here
    words: list[str] = []
    for key, value in file.sam.items():
        if isinstance(value, dict | list):
            raise UsageError(f"{key!r} takes one value, not {value!r}", where=file.location("sam", key))
        flag = f"--{key.replace('_', '-')}"
        words += [flag] if value is True else [] if value is False else [flag, str(value)]
    return words


def _run_sam(command: list[str], runs: list[Path], log: Callable[[str], None]) -> None:
    """Run SAM on the saved images of the first run, compared with the others."""
    first, others = next(iter(runs), None), [word for run in runs[1:] for word in ("--compare", str(run))]
    due = first and _outdated(first / "sam" / "sam.json", (run / "masks.json" for run in runs))
    if due and run_child([*command, str(first), *others]):
        log("skipped: SAM (see above)")


def _outdated(figure: Path, sources: Iterable[Path]) -> bool:
    """Whether there are sources, and no figure newer than they."""
    times = [path.stat().st_mtime for path in sources if path.exists()]
    return bool(times) and not (figure.exists() and figure.stat().st_mtime >= max(times))
