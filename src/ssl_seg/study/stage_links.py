"""Links to the runs of a study by stage and seed: `runs/study/stages/C/seed-1`."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import atomic_link, discard

FOLDER = "stages"


def link_stages(out: Path, runs: Mapping[str, Mapping[int, Path]]) -> None:
    """Make the links of all runs, and remove those of stages and seeds that are no longer planned.

    They are for people: `STUDY@STAGE` does without. So a stage whose name is no file name has none, and a file system
    without links is no error.

    Args:
        out: folder of the study.
        runs: stage -> seed -> folder in `out`; it may not be there yet.
    """
    root = out / FOLDER
    named = {stage: seeds for stage, seeds in runs.items() if _is_file_name(stage)}
    wanted = {
        root / stage / f"seed-{seed}": os.path.join("..", "..", folder.name)
        for stage, seeds in named.items()
        for seed, folder in seeds.items()
    }
    if root.is_symlink():  # not ours: nothing is written through it
        return
    for link in root.glob("*/seed-*"):
        if link.is_symlink() and link not in wanted and not link.parent.is_symlink():
            discard(link)
            with suppress(OSError):  # other links are in it
                link.parent.rmdir()
    for link, target in wanted.items():
        if link.parent.is_symlink() or (os.path.lexists(link) and not link.is_symlink()):
            continue
        if not link.is_symlink() or os.readlink(link) != target:
            with suppress(ResourceError):
                atomic_link(link, target)


def _is_file_name(stage: str) -> bool:
    return bool(stage) and Path(stage).name == stage and not stage.startswith(".")
