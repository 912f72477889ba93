"""The live page of runs, in parts: what has not changed is neither drawn nor sent again."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_seg.reporting.html import COMMAND_TITLES, environment, script, style
from ssl_seg.reporting.live_runs import NOT_STARTED, LiveRun, LiveRuns
from ssl_seg.reporting.score_charts import ChartedRuns, score_charts
from ssl_seg.results.score_text import score_name
from ssl_seg.utils.text import format_duration

_COLORED = 16  # groups of runs with a color of their own; the others are gray
_ROWS = 12  # of a table; the rest is folded
_POINTS, _FAINT_POINTS = 200, 50  # of a line
_OTHER = "other"
_MARKS = {"finished": "good", "running": "live", NOT_STARTED: ""}


class Part(NamedTuple):
    """A piece of the page: its place, the digest of its text, and its text."""

    name: str
    digest: str
    html: str


class LivePage:
    """The page of the runs in and below a folder.

    Args:
        root: the folder.
        title: the heading.
    """

    def __init__(self, root: Path, title: str) -> None:
        self._runs, self._title = LiveRuns(root), title
        self._templates = environment()
        self._colors: dict[str, dict[str, int]] = {}
        self._charts: dict[str, tuple[object, str]] = {}

    def parts(self) -> list[Part]:
        """Read what has changed; the page from top to bottom."""
        runs = self._runs.read()
        waiting = [run for run in runs if run.summary.state == NOT_STARTED]
        found = {"overview": self._render("overview", counts=_counts(runs), runs=runs)}
        for command in (*COMMAND_TITLES, _OTHER):
            chosen = [run for run in runs if _command(run) == command and run not in waiting]
            if chosen:
                colors = self._color_indices(command, chosen)
                found |= self._tables(command, chosen, colors)
                found[f"curves-{command}"] = self._curves(command, chosen, colors)
        if waiting:
            found["waiting"] = self._render("waiting", runs=sorted(waiting, key=lambda run: run.name))
        return [
            Part(name, hashlib.sha256(html.encode()).hexdigest()[:20], html) for name, html in found.items()
        ]

    def page(self, parts: Iterable[Part], token: str) -> str:
        """The whole page.

        Args:
            token: of the server; a page that was loaded from another one is loaded again.
        """
        text, digest = script("live.js")
        return self._templates.get_template("live.html.j2").render(
            title=self._title,
            parts=parts,
            token=token,
            style=style("live.css"),
            script=text,
            policy=f"script-src 'sha256-{digest}'; connect-src 'self'",
        )

    def _render(self, macro: str, **named: Any) -> str:
        module: Any = self._templates.get_template("live_parts.html.j2").module
        return str(getattr(module, macro)(**named))

    def _tables(self, command: str, runs: Sequence[LiveRun], colors: dict[str, int]) -> dict[str, str]:
        order = sorted(runs, key=lambda run: run.summary.state != "running")  # running first, then the latest
        title = COMMAND_TITLES.get(command, "Other runs")
        score = next((score_name(run.summary.score) for run in order if run.summary.score), "score")
        rows = [_cells(run, colors.get(run.group)) for run in order]
        found = {f"runs-{command}": self._render("table", title=title, score=score, rows=rows[:_ROWS])}
        if more := rows[_ROWS:]:
            found[f"more-{command}"] = self._render("more", name=command, score=score, rows=more)
        return found

    def _curves(self, command: str, runs: Sequence[LiveRun], colors: dict[str, int]) -> str:
        key = [(run.name, run.stamps, colors.get(run.group)) for run in runs]
        known = self._charts.get(command)
        if known and known[0] == key:
            return known[1]
        drawn = [_line(run, colors.get(run.group)) for run in sorted(runs, key=lambda run: run.name)]
        charts, training = score_charts(drawn)
        html = self._render(
            "curves", charts=charts, training=training, faint=len({run.group for run in runs}) > _COLORED
        )
        self._charts[command] = (key, html)
        return html

    def _color_indices(self, command: str, runs: Sequence[LiveRun]) -> dict[str, int]:
        """The colors of the groups that changed last, running ones first; a group keeps its color."""
        order = sorted(runs, key=lambda run: run.summary.state != "running")
        chosen = list(dict.fromkeys(run.group for run in order))[:_COLORED]
        before = self._colors.get(command, {})
        kept = {group: index for group, index in before.items() if group in chosen}
        free = (index for index in range(_COLORED) if index not in kept.values())
        kept |= {group: next(free) for group in sorted(chosen) if group not in kept}
        self._colors[command] = kept
        return kept


def _command(run: LiveRun) -> str:
    return run.summary.command if run.summary.command in COMMAND_TITLES else _OTHER


def _counts(runs: Sequence[LiveRun]) -> list[tuple[str, int]]:
    states = [run.summary.state for run in runs]
    usual = ("running", "finished", "stopped", "failed", NOT_STARTED)
    return [
        (state, states.count(state)) for state in dict.fromkeys([*usual, *sorted(states)]) if state in states
    ]


def _line(run: LiveRun, color: int | None) -> ChartedRuns:
    scores, most = run.summary.scores, _FAINT_POINTS if color is None else _POINTS
    step = max(1, -(-len(scores) // most))
    thinned = [*scores[::step], *(scores[-1:] if (len(scores) - 1) % step else [])]
    return ChartedRuns(run.name, color or 0, [(run.name, thinned)], faint=color is None)


def _cells(run: LiveRun, color: int | None) -> dict[str, Any]:
    """What a row shows of a run."""
    summary = run.summary
    loss = summary.scores[-1].get("loss") if summary.scores else None
    return {
        "name": run.name,
        "color": color,
        "state": summary.state,
        "mark": _MARKS.get(summary.state, "bad"),
        "silent": f"silent for {format_duration(run.silent)}" if run.silent else "",
        "model": summary.model,
        "epochs": f"{summary.epochs}/{summary.planned}" if summary.planned else str(summary.epochs),
        "done": summary.epochs if 0 < summary.epochs <= summary.planned else 0,
        "planned": summary.planned,
        "best": "" if summary.best is None else f"{summary.best:.3f}",
        "last": "" if summary.last is None else f"{summary.last:.3f}",
        "loss": "" if loss is None else f"{loss:.4g}",
        "time": format_duration(summary.seconds) if summary.seconds else "",
        "remaining": "" if run.remaining is None else _remaining(run.remaining),
        "changed": _date(summary.modified, "%H:%M") if summary.modified else "",
    }


def _remaining(seconds: float) -> str:
    if seconds < 60:
        return "less than 1 min"
    return f"{format_duration(60 * round(seconds / 60)).removesuffix(' 0 s')}, until {_date(time.time() + seconds, '%H:%M')}"


def _date(seconds: float, clock: str) -> str:
    """The time of day; of another day the date before it."""
    try:
        then = time.localtime(seconds)
        today = time.localtime()[:3] == then[:3]
        return time.strftime(clock if today else f"%Y-%m-%d {clock}", then)
    except (OverflowError, ValueError, OSError):  # a date beyond the calendar
        return ""
