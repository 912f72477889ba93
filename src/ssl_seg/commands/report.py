"""`ssl-seg report`: one HTML page of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands.from_python import from_python
from ssl_seg.utils.progress import echo, format_file_size
from ssl_seg.workflows.report import write_report


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
    written = write_report(folders, out, title)
    echo(f"{written.path}  {format_file_size(written.path)}", *written.others)
    for what, command in written.missing:
        echo(f"missing: {what}  ->  {command}")
    return written.path
