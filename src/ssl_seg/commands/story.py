"""The pictures and the page at the end of a study."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ssl_seg.errors import ResourceError, SslSegError, UsageError
from ssl_seg.utils.child_process import run_child
from ssl_seg.utils.code_names import names_code

if TYPE_CHECKING:
    from ssl_seg.study.config import Stage, StudyFile
    from ssl_seg.study.planner import Study


def tell(plan: "Study", say: Callable[[str], None], sam: list[str] | None) -> list[ResourceError]:
    """Draw what the finished runs of the tables can show, and write `report.html`.

    A picture that is there and not older than what it is drawn from stays. One that cannot be drawn
    is told of, and harms nothing else.

    Args:
        plan: of a study whose runs have ended.
        say: told what is missing.
        sam: the command that asks SAM, but for the runs; None if there is none.

    Returns:
        Why pictures or the page could not be written, where the disk or a permission is to blame.
    """
    from ssl_seg.commands.figure_masks import masks
    from ssl_seg.commands.figure_tsne import tsne
    from ssl_seg.commands.report import report

    lost: list[ResourceError] = []

    def attempt(make: Callable[[], object]) -> None:
        try:
            make()
        except SslSegError as error:
            say(f"not drawn: {error.what}")
            if isinstance(error, ResourceError):
                lost.append(error)

    shown = {name: next(iter(found)) for name, found in _runs_of(plan).items() if found}
    for name in _mapped([plan.file.stages[name] for name in shown], plan):
        features = shown[name] / "features"
        if _outdated(shown[name] / "figures" / "tsne.json", features.glob("*.npz")):
            attempt(lambda folder=shown[name]: tsne(folder))  # type: ignore[misc]
    for folder in shown.values():
        if _outdated(folder / "figures" / "masks.svg", folder.glob("masks.json")):
            attempt(lambda folder=folder: masks([folder]))  # type: ignore[misc]
    segmented = [folder for name, folder in shown.items() if plan.file.stages[name].command == "segment"]
    code = _code_of([job.flags for job in plan.jobs])
    attempt(lambda: _networks(plan.file.out / "figures" / "architecture.svg", segmented, code))
    if sam:
        _ask_sam(sam, [folder for folder in segmented if any(folder.glob("masks/images/**/*.png"))], say)
    attempt(lambda: report([plan.file.out]))
    return lost


def _runs_of(plan: "Study") -> dict[str, list[Path]]:
    """Row -> folders of its finished runs."""
    rows = dict.fromkeys(row for table in plan.file.tables for row in table.rows)
    return {row: list(plan.folders(row).values()) for row in rows}


def _mapped(stages: list["Stage"], plan: "Study") -> list[str]:
    """Which stages get maps of features: backbones trained without labels, then whole; or else the first."""
    able = [stage for stage in stages if stage.command == "classify"]
    chosen = [
        stage.name
        for stage in able
        if not stage.flags.get("freeze")
        and any(plan.file.stages[name].command == "train" for name in stage.references.values())
    ]
    return chosen or [stage.name for stage in able[:1]]


def _code_of(jobs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Backbones and heads that the study, a person's own file, takes from files of code."""
    return {
        part: [str(flags[part]) for flags in jobs if names_code(flags.get(part))]
        for part in ("backbone", "head")
    }


def _networks(picture: Path, runs: list[Path], code: Mapping[str, list[str]]) -> None:
    """Draw the networks of runs on one scale, equal ones once."""
    from ssl_seg.commands.figure_architecture import architecture
    from ssl_seg.weights.model_file import read_model_about

    found: dict[str, Path] = {}
    for run in runs:
        about = read_model_about(run / "model.safetensors")
        parts = {key: about.get(key) for key in ("backbone", "head", "options", "image_size")}
        found.setdefault(json.dumps(parts, sort_keys=True), run)
    if found:
        architecture(
            [str(run) for run in found.values()],
            out=picture.with_suffix(""),
            backbone=code["backbone"],
            head=code["head"],
        )


def sam_flags(context: typer.Context, file: "StudyFile") -> list[str] | None:
    """The words of `[sam]` for the command line; None if no package brings `ssl-seg sam`, or nothing for it.

    Raises:
        UsageError: a flag that has no single value.
    """
    command = getattr(context.find_root().command, "commands", {}).get("sam")
    if command is None or not any(stage.command == "segment" for stage in file.stages.values()):
        return None
    # the command of another package is not loaded before it is called: its parameters are not known here
    words: list[str] = []
    for key, value in file.sam.items():
        if isinstance(value, dict | list):
            raise UsageError(f"{key!r} takes one value, not {value!r}", where=file.where("sam", key))
        flag = f"--{key.replace('_', '-')}"
        words += [flag] if value is True else [] if value is False else [flag, str(value)]
    return words


def _ask_sam(command: list[str], runs: list[Path], say: Callable[[str], None]) -> None:
    """Of the images that the first run has watched; the others' numbers stand beside."""
    first, others = next(iter(runs), None), [word for run in runs[1:] for word in ("--compare", str(run))]
    due = first and _outdated(first / "sam" / "sam.json", (run / "masks.json" for run in runs))
    if due and run_child([*command, str(first), *others]):
        say("not asked: SAM; see above")


def _outdated(picture: Path, sources: Iterable[Path]) -> bool:
    """Whether there is something to draw, and no picture of it yet."""
    times = [path.stat().st_mtime for path in sources if path.exists()]
    return bool(times) and not (picture.exists() and picture.stat().st_mtime >= max(times))
