"""`ssl-seg report`: one HTML page of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.progress import echo, size_of


@from_python
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Output folder of a study, or run folders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file.", show_default="FOLDER/report.html; several folders: report.html"),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the report.", show_default="folder name")] = "",
) -> Path:
    """Summarize finished runs in one self-contained HTML page.

    Also writes Markdown and LaTeX versions. Missing parts are listed with the command that creates them.
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
        raise UsageError(f"--out must end with .html, got {str(path)!r}")
    made = build(folders, title)
    write_page(made, path)
    write_markdown(made, path.with_suffix(".md"))
    write_tables(made, path.with_name(f"{path.stem}_tables.tex"))
    echo(f"{path}  {size_of(path)}")
    for other in (path.with_suffix(".md"), path.with_name(f"{path.stem}_tables.tex")):
        echo(f"{other}")
    for what, command in made.missing:
        echo(f"missing: {what}  ->  {command}")
    return path
