"""The table of a study, as text, Markdown, LaTeX and CSV."""

import re
from collections.abc import Sequence
from pathlib import Path

from ssl_seg.results.chance import NUM_PERMUTATIONS
from ssl_seg.results.runs import Comparison, StageScores, at_compute, compare, compute_budget
from ssl_seg.results.score_text import format_mean_sd, mean_sd, score_digits, score_name
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import output_path
from ssl_seg.utils.text import csv_text, shown, strip_unprintable

ALPHA = 0.05  # significance level
_COLUMNS = "name,title,seeds,last_mean,last_sd,best_mean,best_sd,images,low,high,published"
_LAST_EPOCH = "Report the last epoch: the best epoch is selected on the validation images themselves."
_DIFFERENCE = "Difference: last epoch, paired by seed."
_COST_COLUMNS = ",flops,equal_epoch,equal_mean,equal_sd"
_ANSWERS = (
    "95% CI: sampling of validation images (Wilson).",
    "p: paired sign-flip test over images, correct predictions averaged over seeds; Holm-corrected",
)
_MASKS = (
    "95% CI: sampling of validation images (bootstrap of the mean over seeds).",
    "p: paired permutation test, predictions of the two models swapped at random per image; Holm-corrected",
)
_COVERED = "{} the choice of validation images for these runs; the standard deviation covers seeds."
_COMPUTE = (
    "Compute: floating-point operations of training, relative to the cheapest row. At equal compute: the score of the "
    "last epoch within the cheapest row's operations; its learning rate had not yet decayed to the end."
)


ENDINGS = (".txt", ".md", ".tex", ".csv", "-pairs.csv")  # of the files of a table


class Table:
    """Rows and their comparison, to be written in several forms.

    Args:
        rows: of the table.
        score: what it is about.
        baseline: the name of the row that all others are compared with; empty: every two rows are compared.

    Attributes:
        cells: the cells of the tables as they are shown, the first line the head: the rows, and the pairs if there are any.
        digits: decimals of the scores.
        notes: what is to be known of the numbers.
        budget: operations of the cheapest pre-training; None where the rows are no pre-training.
    """

    def __init__(self, rows: Sequence[StageScores], score: str, baseline: str = "") -> None:
        self.rows, self.score, self.baseline = rows, score, baseline
        self.pairs = compare(rows, baseline)
        head = ["", "last epoch", "best epoch", "seeds", "95% CI", "n images"]
        self.digits = digits = score_digits(max((len(row.images) for row in rows), default=0))
        first = [head, *(_cells(row, digits) for row in rows)]
        self.budget = compute_budget(rows)
        if self.budget:
            more = [
                ["compute", "at equal compute"],
                *(_compute_cells(row, self.budget, digits) for row in rows),
            ]
            first = [[*line, *cells] for line, cells in zip(first, more, strict=True)]
        if any(row.published is not None for row in rows):
            said = ["n/a" if row.published is None else f"{row.published:.4g}" for row in rows]
            first = [[*line, more] for line, more in zip(first, ["published", *said], strict=True)]
        self.cells = [first]
        if self.pairs:
            head = ["", "difference", "p (Holm)", "significant"]
            self.cells.append([head, *(_pair_cells(pair, digits) for pair in self.pairs)])
        reasons = {f"{row.name}: {row.reason}": None for row in rows if row.reason}
        reasons |= {f"{p.label}: {p.reason}": None for p in self.pairs if p.reason and ": " not in p.reason}
        lacking = (f"No test or confidence interval: {' '.join(reason.split())}." for reason in reasons)
        self.notes = [*self._explanations(), *([_COMPUTE] if self.budget else []), *self._limits(), *lacking]

    def _explanations(self) -> list[str]:
        """Return notes on what the numbers are; those on differences only if there are any."""
        interval, test = _MASKS if any(row.scored_classes is not None for row in self.rows) else _ANSWERS
        if not self.pairs:
            return [_LAST_EPOCH, interval, _COVERED.format("CI covers")]
        family = f"for the comparisons with {self.baseline}" if self.baseline else "for all pairs"
        return [_LAST_EPOCH, _DIFFERENCE, interval, f"{test} {family}.", _COVERED.format("CI and p cover")]

    def _limits(self) -> list[str]:
        """Return notes on the limits of the tests."""
        shared: dict[str, list[str]] = {}
        for pair in self.pairs:
            if pair.partly:
                shared.setdefault(", ".join(map(str, pair.differences)), []).append(pair.label)
        notes = [
            f"Difference and p over the shared seeds alone ({seeds}): {', '.join(pairs)}."
            for seeds, pairs in shared.items()
        ]
        tested = sum(pair.p is not None for pair in self.pairs)
        if tested > ALPHA * NUM_PERMUTATIONS:
            notes.append(
                f"{tested:,} pairs are too many for {NUM_PERMUTATIONS:,} permutations: use tables with fewer rows."
            )
        return notes

    @property
    def title(self) -> str:
        """What the numbers are."""
        name = score_name(self.score)
        what = name if name == self.score else f"{name} ({self.score})"
        several = any(len(row.last) > 1 for row in self.rows)
        return f"{what}, mean ± standard deviation over seeds" if several else what

    def write(self, folder: Path, stem: str = "table") -> None:
        """Write `table.txt`, `table.md`, `table.tex`, `table.csv` and `table-pairs.csv`.

        Args:
            stem: of the files' names, instead of `table`.

        Raises:
            UsageError: see `output_path`.
            ResourceError: they cannot be written.
        """
        pairs = [[p.label, *mean_sd(p.differences.values()), p.p, p.reason] for p in self.pairs]
        texts = (
            *(self.text(), self.markdown(), self.latex()),
            csv_text(
                (_COLUMNS + _COST_COLUMNS * bool(self.budget)).split(","), map(self._numbers, self.rows)
            ),
            csv_text(("names", "mean", "sd", "p", "why"), pairs),
        )
        for ending, text in zip(ENDINGS, texts, strict=True):
            atomic_write_text(output_path(folder, f"{stem}{ending}"), text)

    def _numbers(self, row: StageScores) -> list[object]:
        spreads = [*mean_sd(row.last.values()), *mean_sd(row.best.values())]
        interval, count = row.interval or (None, None), len(row.images) or None
        numbers = [row.name, row.title, len(row.last), *spreads, count, *interval, row.published]
        if not self.budget:
            return numbers
        epoch, scores = at_compute(row, self.budget)
        return [*numbers, row.flops, epoch, *mean_sd(scores)]

    def text(self) -> str:
        """For the terminal."""
        parts = [shown(self.title)]
        for grid in ([list(map(shown, line)) for line in grid] for grid in self.cells):
            widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
            padded = (map(str.ljust, line, widths) for line in grid)
            parts.append("\n".join("  ".join(line).rstrip() for line in padded))
        return "\n\n".join([*parts, "\n".join(map(shown, self.notes))]) + "\n"

    def markdown(self) -> str:
        """For a README."""
        parts = [as_markdown(self.title)]
        parts += map(markdown_table, self.cells)
        return "\n\n".join([*parts, "\n".join(f"- {as_markdown(note)}" for note in self.notes)]) + "\n"

    def latex(self) -> str:
        """For a paper; needs no package."""
        parts = [f"% {' '.join(self.title.split())}"]
        parts += map(latex_table, self.cells)
        return strip_unprintable("\n\n".join([*parts, "\n".join(f"% {note}" for note in self.notes)]) + "\n")


def _cells(row: StageScores, digits: int) -> list[str]:
    last, best = (format_mean_sd(scores.values(), digits) for scores in (row.last, row.best))
    seeds = str(len(row.last)) if len(row.last) == row.planned else f"{len(row.last)} of {row.planned}"
    interval = " to ".join(f"{end:.{digits}f}" for end in row.interval) if row.interval else "n/a"
    return [row.label, last, best, seeds, interval, str(len(row.images) or "n/a")]


def _compute_cells(row: StageScores, budget: float, digits: int) -> list[str]:
    if row.flops is None:
        return ["n/a", "n/a"]
    epoch, scores = at_compute(row, budget)
    equal = f"{format_mean_sd(scores, digits)} (epoch {epoch})" if scores else "n/a"
    return [f"{row.flops / budget:.2f}x", equal]


def _pair_cells(pair: Comparison, digits: int) -> list[str]:
    tested = ["n/a", "n/a"] if pair.p is None else [f"{pair.p:.4f}", "yes" if pair.p < ALPHA else "no"]
    return [pair.label, format_mean_sd(pair.differences.values(), digits, "+"), *tested]


def markdown_table(rows: Sequence[Sequence[str]], ready: Sequence[Sequence[str]] = ()) -> str:
    """A table whose first row is the head; `ready` are rows of Markdown."""
    cells = [list(map(as_markdown, row)) for row in rows] + [list(row) for row in ready]
    head, *body = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])


def latex_table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the head."""
    head, *body = [" & ".join(as_latex(strip_unprintable(cell)) for cell in row) + r" \\" for row in rows]
    begin = rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}"
    return "\n".join([begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"])


def as_markdown(text: str) -> str:
    """A text that Markdown shows as it is, on one line: a line break would end a row of a table."""
    return re.sub(r"([\\`*_\[\]<>|~#$&])", r"\\\1", strip_unprintable(" ".join(text.split())))


def as_latex(text: str) -> str:
    """A text that LaTeX shows as it is, on one line."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"±": r"$\pm$", "<": "$<$", ">": "$>$", "|": "$|$", "·": r"$\cdot$"}
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    line = " ".join(text.split())
    guard = "{}" if line[:1] in ("[", "*") else ""  # after the row before, these are arguments of its \\
    return guard + "".join(special.get(letter, letter) for letter in line)
