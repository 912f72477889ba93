"""Write the report of finished runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_seg.errors import DataError, UsageError
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.home import expanded


@dataclass(frozen=True)
class WrittenReport:
    """Where a report was written.

    Attributes:
        path: the HTML page.
        others: its Markdown and LaTeX versions.
        missing: parts that are missing, each with the command that creates it.
    """

    path: Path
    others: list[Path]
    missing: list[tuple[str, str]]


def write_report(folders: Sequence[Path], out: Path | None = None, title: str = "") -> WrittenReport:
    """Write one HTML page of finished runs, and its Markdown and LaTeX versions.

    Args:
        folders: output folder of a study, or run folders.
        out: the page; by default report.html in the only folder, or in the current one.
        title: of the page; the folder's name by default.

    Raises:
        DataError: a folder is missing. UsageError: `out` is no HTML file.
    """
    from ssl_seg.reporting.build import build
    from ssl_seg.reporting.latex import write_tables
    from ssl_seg.reporting.markdown import write_markdown
    from ssl_seg.reporting.page import write_page

    folders = list(dict.fromkeys(find_run(folder, or_study=True) for folder in folders))
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no such folder: {folder}", next="ssl-seg report FOLDER")
    path = expanded(out or (folders[0] if len(folders) == 1 else Path()) / "report.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out must end with .html, got {str(path)!r}")
    content = build(folders, title)
    write_page(content, path)
    others = [path.with_suffix(".md"), path.with_name(f"{path.stem}_tables.tex")]
    write_markdown(content, others[0])
    write_tables(content, others[1])
    return WrittenReport(path, others, list(content.missing))
