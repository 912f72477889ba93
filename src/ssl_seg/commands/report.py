"""`ssl-seg report`: one page that tells what runs have shown."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.progress import echo, size_of


@from_python
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="The `out` of a study, or folders of runs.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page.", show_default="report.html in FOLDER, or here if there are several"),
    ] = None,
    title: Annotated[str, typer.Option(help="What stands above it.", show_default="the folder's name")] = "",
) -> Path:
    """Write one HTML page of finished runs, and the same as Markdown and LaTeX.

    The page needs no other file and no network. What is missing is said, with the command that makes it.
    """
    from ssl_seg.reporting.build import build
    from ssl_seg.reporting.latex import write_tables
    from ssl_seg.reporting.markdown import write_markdown
    from ssl_seg.reporting.page import write_page

    folders = list(dict.fromkeys(folder.expanduser() for folder in folders))
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no such folder: {folder}", next="ssl-seg report FOLDER")
    path = (out or (folders[0] if len(folders) == 1 else Path()) / "report.html").expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out is a page: {path} does not end with .html")
    made = build(folders, title)
    write_page(made, path)
    write_markdown(made, path.with_suffix(".md"))
    write_tables(made, path.with_name(f"{path.stem}_tables.tex"))
    echo(f"{path}  {size_of(path)}")
    for other in (path.with_suffix(".md"), path.with_name(f"{path.stem}_tables.tex")):
        echo(f"{other}")
    for what, command in made.missing:
        echo(f"not there: {what}  ->  {command}")
    return path
