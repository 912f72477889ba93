"""The tables of a report as LaTeX."""

from pathlib import Path

from ssl_seg.reporting.build import Report, run_grid
from ssl_seg.reporting.summaries import texts
from ssl_seg.results.tables import latex_table
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.text import strip_unprintable


def write_tables(report: Report, path: Path) -> None:
    """Write all tables to one file that needs no LaTeX package.

    Raises:
        ResourceError: it cannot be written.
    """
    atomic_write_text(path, tables(report))


def tables(report: Report) -> str:
    """Return the tables of scores, differences, per-class results and runs."""
    parts = [f"% {_one_line(report.title)}"]
    for result in report.results:
        parts += [f"% {_one_line(result.name)}", strip_unprintable(result.table.latex()).strip()]
    for command, table in report.classes.items():
        parts += [
            f"% {command}: {table.what} at the last epoch, mean and standard deviation over seeds",
            latex_table(table.rows()),
        ]
    head, rows = run_grid(report)
    columns = [line[:7] for line in (head, *map(texts, rows))]
    return "\n\n".join([*parts, "% runs", latex_table(columns)]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(strip_unprintable(text).split())
