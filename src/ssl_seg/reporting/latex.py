"""The tables of a report as LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from ssl_seg.reporting.build import Report
from ssl_seg.reporting.summaries import ClassTable
from ssl_seg.results.tables import as_latex
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.text import plain


def write_tables(report: Report, path: Path) -> None:
    """Write all tables to one file that needs no LaTeX package.

    Raises:
        ResourceError: it cannot be written.
    """
    replace_text(path, tables(report))


def tables(report: Report) -> str:
    """Return the tables of scores, differences, per-class results and runs."""
    parts = [f"% {_one_line(report.title)}"]
    for result in report.results:
        parts += [f"% {_one_line(result.name)}", plain(result.table.latex()).strip()]
    for command, table in report.classes.items():
        parts += [
            f"% {command}: {table.what} at the last epoch, mean and standard deviation over seeds",
            _classes(table),
        ]
    head = ["run", "status", "epochs", "score", "last", "best", "training time"]
    rows = [
        [row.run.name, row.run.state, row.epochs, row.key, *(cell.text for cell in row.cells[:3])]
        for row in report.runs
    ]
    return "\n\n".join([*parts, "% runs", _tabular([head, *rows])]) + "\n"


def _classes(table: ClassTable) -> str:
    known = any(support.value is not None for _, support, _ in table.lines)
    head = ["class", *(["pixels"] if known else []), *table.head]
    lines = [
        [name, *([support.text] if known else []), *(cell.text for cell in cells)]
        for name, support, cells in table.lines
    ]
    means = [[name, *([""] if known else []), *(cell.text for cell in cells)] for name, cells in table.means]
    return _tabular([head, *lines, *means])


def _tabular(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [" & ".join(as_latex(plain(cell)) for cell in row) + r" \\" for row in rows]
    begin = rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}"
    return "\n".join([begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"])


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())
