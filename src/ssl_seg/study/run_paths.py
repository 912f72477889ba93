"""Runs by the names they have in a study: `runs/study@C`, `runs/study@C:1`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.utils.home import expanded
from ssl_seg.utils.text import listed
from ssl_seg.utils.toml import read_json

NAME = "study.json"


def find_run(run: str | Path, *, or_study: bool = False) -> Path:
    """The path of a run: what was typed, or the folder of a study's stage.

    Args:
        run: a path; or `STUDY@STAGE` or `STUDY@STAGE:SEED`, where STUDY is the output folder of a study. Without
            SEED the first one that is planned.
        or_study: a study's folder will do as well.

    Raises:
        UsageError: no such stage or seed, or a study without a stage.
        DataError: the study's `study.json` is corrupt.
    """
    path = expanded(run)
    if path.exists():
        return path if or_study else _refuse_study(path)
    study, _, name = str(path).rpartition("@")
    if not study or not (Path(study) / NAME).is_file():
        return path
    stages = runs_of_study(Path(study))
    stage, seed = name, ""
    if name not in stages and ":" in name:
        stage, _, seed = name.rpartition(":")
    if stage not in stages:
        raise UsageError(
            f"{study} has no stage {stage!r}{did_you_mean(stage, stages)}", next=_choice(study, stages)
        )
    seeds = stages[stage]
    if seed and seed not in seeds:
        raise UsageError(f"stage {stage!r} of {study} has no seed {seed}", next=f"one of {', '.join(seeds)}")
    return seeds[seed or next(iter(seeds))]


def runs_of_study(study: Path) -> dict[str, dict[str, Path]]:
    """The folders of a study's runs, by stage and seed; they may not be there yet.

    Raises:
        DataError: `study.json` is corrupt.
    """
    try:
        stages: dict[str, Any] = read_json(study / NAME)["stages"]
        found = {
            name: {str(seed): run_folder(study, folder) for seed, folder in stage["runs"].items()}
            for name, stage in stages.items()
        }
        if not all(found.values()):
            raise ValueError("a stage without runs")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        where = f"{study / NAME}: {error}"
        raise DataError("study.json is corrupt", where=where, next="ssl-seg study STUDY.toml") from error


def run_folder(study: Path, name: object) -> Path:
    """The folder of a run by the name that `study.json` has for it.

    Raises:
        ValueError: it is none, or leads elsewhere.
    """
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise ValueError(f"invalid folder name {name!r}")
    return study / name


def _refuse_study(path: Path) -> Path:
    if (path / NAME).is_file() and not (path / "run.toml").exists():
        stages = runs_of_study(path)
        raise UsageError(
            f"{path} is a study, not a run",
            where=listed(f"{path}@{name}: {_states(runs)}" for name, runs in stages.items()),
            next=f"name one of its runs, for example {path}@{next(iter(stages))}; of another seed "
            f"{path}@STAGE:SEED",
        )
    return path


def _states(runs: dict[str, Path]) -> str:
    """`seeds 0, 1 finished; seed 2 not started`."""
    states: dict[str, list[str]] = {}
    for seed, folder in runs.items():
        state = "not started"
        with suppress(OSError, ValueError, KeyError):
            state = read_json(folder / "status.json")["state"]
        states.setdefault(str(state), []).append(seed)
    return "; ".join(
        f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)} {state}"
        for state, seeds in states.items()
    )


def _choice(study: str, stages: dict[str, dict[str, Path]]) -> str:
    return f"one of {', '.join(f'{study}@{name}' for name in stages)}"
