"""Rows of pre-training runs: the untrained network as a row of its own, and what training costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssl_seg.errors import SslSegError
from ssl_seg.results.predictions import UNTRAINED, UnusableError, read_predictions
from ssl_seg.results.run_digests import damage
from ssl_seg.results.runs import StageScores, read_row
from ssl_seg.study.config import StageConfig
from ssl_seg.utils.toml import read_toml

SCORE = "probe_knn"
Stage = tuple[StageConfig, Mapping[int, Path]]  # with the folders of its finished runs, by seed


def read_rows(
    stages: Sequence[Stage],
    score: str,
    read: Callable[[StageConfig, Mapping[int, Path], str], StageScores] = read_row,
) -> list[StageScores]:
    """The rows of a table. Where the score is that of the k-NN probe, untrained networks come first.

    Args:
        read: makes the row of a stage.
    """
    rows = [read(stage, folders, score) for stage, folders in stages]
    if score != SCORE:
        return rows
    settings = [_settings(folders) for _, folders in stages]
    rows = [replace(row, epoch_flops=_epoch_flops(each)) for row, each in zip(rows, settings, strict=True)]
    return [*_untrained_rows(stages, settings), *rows]


def _untrained_rows(stages: Sequence[Stage], settings: Sequence[Mapping[str, Any]]) -> Iterator[StageScores]:
    """One row for each backbone and its initial weights, from the runs of the first stage that trains it."""
    first: dict[str, Stage] = {}
    for each, stage in zip(settings, stages, strict=True):
        if each:
            options, init = each.get("o", {}).get("backbone", {}), each.get("init")
            network = f"{each.get('backbone')} {options or ''}".strip()
            first.setdefault(f"{network} from {init}" if init else f"untrained {network}", stage)
    taken = {config.name for config, _ in stages}
    untrained = [title for title in first if title.startswith("untrained ")]
    for title, (owner, folders) in first.items():
        name = "untrained" if [title] == untrained else title
        if name not in taken and (row := _untrained_row(name, title, owner, folders)):
            yield row


def _untrained_row(
    name: str, title: str, stage: StageConfig, folders: Mapping[int, Path]
) -> StageScores | None:
    """None for runs of an earlier version, which did not keep what the untrained network predicted, or if it is corrupt."""
    try:
        found = {seed: read_predictions(folder / UNTRAINED) for seed, folder in folders.items()}
    except UnusableError:
        return None
    if any(line.startswith(UNTRAINED) for folder in folders.values() for line in damage(folder)):
        return None
    images = next(iter(found.values())).images
    if any(each.images != images for each in found.values()):
        return None
    scores = {seed: float(each.correct.mean()) for seed, each in found.items()}
    correct = np.stack([each.correct for each in found.values()])
    return StageScores(name, title, len(stage.seeds), scores, scores, images, correct, epoch_flops=0.0)


def _settings(folders: Mapping[int, Path]) -> dict[str, Any]:
    """Of the first run; empty without one."""
    with suppress(SslSegError):
        for folder in folders.values():
            return read_toml(folder / "run.toml")
    return {}


def _epoch_flops(settings: Mapping[str, Any]) -> float | None:
    """Operations of an epoch; None if the run did not count them."""
    with suppress(KeyError, TypeError, ValueError):
        record = settings["record"]
        return float(record["flops_per_image"] * record["steps_per_epoch"] * settings["batch_size"])
    return None
