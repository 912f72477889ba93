"""`ssl-seg demo`: the whole pipeline on built-in synthetic images."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands.study import study
from ssl_seg.errors import ResourceError, Stopped, UsageError
from ssl_seg.utils.home import expanded
from ssl_seg.utils.progress import echo

_OUT = Path("runs/demo")
_NEXT = (
    "Next:",
    "  ssl-seg train FOLDER_OF_IMAGES --backbone resnet50",
    "  ssl-seg train FOLDER_OF_IMAGES --ssl simclr --probe LABELED_IMAGES",
    "  ssl-seg list",
    "  ssl-seg train --help",
)


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Output folder of the runs and the report.")] = _OUT,
) -> None:
    """Run the whole pipeline on built-in synthetic images.

    Pre-training, classification, segmentation and an HTML report, in a few minutes. The study file is
    OUT/study.toml. After an interruption, the same command resumes the demo.
    """
    file = expanded(out) / "study.toml"
    _write(file)
    try:
        study(context, file)
    except Stopped as error:
        error.next = "ssl-seg demo" if out == _OUT else shlex.join(["ssl-seg", "demo", "--out", str(out)])
        raise
    page = out / "report.html"
    echo("", "Pre-training used no labels. Report:")
    echo(f"  {page.absolute()}", "")
    echo(f"To repeat or modify it: ssl-seg study {file}", "", *_NEXT)


def _write(file: Path) -> None:
    """The study's file; one that is there and says something else stays.

    Raises:
        UsageError: there is another, or the folder has a name that TOML cannot hold.
        ResourceError: it cannot be written.
    """
    from ssl_seg.utils.files import atomic_write_text
    from ssl_seg.utils.toml import to_toml

    text = files("ssl_seg.commands").joinpath("demo.toml").read_text(encoding="utf-8")
    text = to_toml({"out": str(file.parent)}) + text
    try:
        if file.exists():
            if file.read_text(encoding="utf-8") != text:
                raise UsageError("another study file exists", where=str(file), next="another --out")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ResourceError(f"cannot write {file}: {error}") from error
    atomic_write_text(file, text)
