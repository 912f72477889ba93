"""The pictures and the page at the end of a study."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_seg.errors import SslSegError

if TYPE_CHECKING:
    from ssl_seg.stages import Stage
    from ssl_seg.study import Study


def tell(plan: "Study", say: Callable[[str], None]) -> None:
    """Draw what the finished runs of the tables can show, and write `report.html`.

    A picture that is there and not older than what it is drawn from stays. One that cannot be drawn
    is told of, and harms nothing else.
    """
    from ssl_seg.commands.figure_architecture import architecture
    from ssl_seg.commands.figure_masks import masks
    from ssl_seg.commands.figure_tsne import tsne
    from ssl_seg.commands.report import report

    shown = {name: next(iter(found)) for name, found in _runs_of(plan).items() if found}
    for name in _mapped([plan.file.stages[name] for name in shown], plan):
        features = shown[name] / "features"
        if _outdated(shown[name] / "figures" / "tsne.json", features.glob("*.npz")):
            _try(lambda folder=shown[name]: tsne(folder), say)  # type: ignore[misc]
    for name, folder in shown.items():
        if _outdated(folder / "figures" / "masks.svg", folder.glob("masks.json")):
            _try(lambda folder=folder: masks([folder]), say)  # type: ignore[misc]
        made = plan.file.stages[name].command == "segment" and [folder / "model.safetensors"]
        if made and _outdated(folder / "figures" / "architecture.svg", made):
            _try(lambda folder=folder: architecture([str(folder)]), say)  # type: ignore[misc]
    _try(lambda: report([plan.file.out]), say)


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


def _outdated(picture: Path, sources: Iterable[Path]) -> bool:
    """Whether there is something to draw, and no picture of it yet."""
    times = [path.stat().st_mtime for path in sources if path.exists()]
    return bool(times) and not (picture.exists() and picture.stat().st_mtime >= max(times))


def _try(make: Callable[[], None], say: Callable[[str], None]) -> None:
    try:
        make()
    except SslSegError as error:
        say(f"not drawn: {error.what}")
