"""The answer to the question of a report, in two sentences for each table, and what to do next."""

from collections.abc import Iterator
from pathlib import Path

from ssl_seg.errors import pluralize
from ssl_seg.reporting.records import ReportData, ReportStage
from ssl_seg.reporting.summaries import summarize
from ssl_seg.results.planned_epochs import training_length
from ssl_seg.results.runs import StageScores
from ssl_seg.results.score_text import format_mean_sd, mean_sd, score_name
from ssl_seg.results.tables import ALPHA, Table

_FEW = 3  # seeds
_NO_SCRATCH = (
    " Without a stage of the same network from scratch, this does not say whether pre-training helps."
)


def answers(collected: ReportData) -> list[str]:
    """What each table says of pre-training: the best pre-trained stage against the one from scratch, or the best row."""
    return [
        _against_scratch(table, pair)
        if (pair := _pair(collected, table))
        else f"{summarize(table)}{_NO_SCRATCH if _lacks_scratch(collected, table) else ''}"
        for _, table in collected.tables
        if any(row.last for row in table.rows)
    ]


def next_steps(collected: ReportData) -> list[str]:
    """What would make the answer surer, or larger."""
    steps = list(dict.fromkeys(_steps(collected)))
    repeat = "Change the file of the study, then run `ssl-seg study FILE` again: finished runs are kept."
    return [*steps, repeat] if steps and collected.is_study else steps


def _pair(collected: ReportData, table: Table) -> tuple[StageScores, StageScores] | None:
    """The best row that was pre-trained without labels, and the best one of the same network from scratch."""
    best: dict[str, StageScores] = {}
    networks: dict[str, set[tuple[str, str]]] = {}
    rows = list(_rows_by_origin(collected, table))
    for origin, stage, _ in rows:
        networks.setdefault(origin, set()).add(_network(stage))
    both = networks.get("ssl", set()) & networks.get("scratch", set())
    for origin, stage, row in rows:
        if _network(stage) in both and (origin not in best or _mean(row) > _mean(best[origin])):
            best[origin] = row
    if len(both) > 1:  # of several networks, that of the best pre-trained row
        network = next(_network(stage) for _, stage, row in rows if row is best["ssl"])
        twins = [row for origin, stage, row in rows if origin == "scratch" and _network(stage) == network]
        best["scratch"] = max(twins, key=_mean)
    return (best["ssl"], best["scratch"]) if both else None


def _rows_by_origin(collected: ReportData, table: Table) -> Iterator[tuple[str, ReportStage, StageScores]]:
    stages = {stage.stage.name: stage for stage in collected.stages}
    for row in table.rows:
        if row.last and row.name in stages:
            yield _origin(collected, stages[row.name]), stages[row.name], row


def _network(stage: ReportStage) -> tuple[str, str]:
    """Backbone and head: scores of two networks do not say what pre-training is worth."""
    settings = stage.finished[0].settings
    return str(settings.get("backbone") or ""), str(settings.get("head") or "")


def _lacks_scratch(collected: ReportData, table: Table) -> bool:
    """Whether a table has pre-trained rows, and none of the same network to compare them with."""
    is_pretrained = any(origin == "ssl" for origin, _, _ in _rows_by_origin(collected, table))
    return is_pretrained and _pair(collected, table) is None


def _origin(collected: ReportData, stage: ReportStage) -> str:
    """`ssl` for weights of a pre-training run of the report, `scratch` without weights, `other`."""
    trained = {
        run.folder.name for each in collected.of("train") for run in each.runs
    }  # a study may have moved
    found = {Path(str(run.settings.get("init") or "")).name for run in stage.finished}
    return "scratch" if found == {""} else "ssl" if found and found <= trained else "other"


def _against_scratch(table: Table, pair: tuple[StageScores, StageScores]) -> str:
    ssl, scratch = pair
    digits, name = table.digits, score_name(table.score)
    one, two = (format_mean_sd(row.last.values(), digits) for row in pair)
    difference = _mean(ssl) - _mean(scratch)
    first = f"The {name} is {one} with pre-training ({ssl.label}) and {two} without ({scratch.label})."
    p = _p(table, ssl.name, scratch.name)
    if p is None:
        return f"{first} The difference of {difference:+.{digits}f} could not be tested."
    seeds = f"{len(ssl.last)} seed{'s' if len(ssl.last) > 1 else ''} and {len(ssl.images)} validation images"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    if p >= ALPHA:
        return f"{first} The difference of {difference:+.{digits}f} is within chance ({chance}, {seeds}): the question is open."
    verdict = "improves" if difference > 0 else "lowers"
    return f"{first} Pre-training {verdict} the result by {abs(difference):.{digits}f}, more than chance ({chance}, {seeds})."


def _p(table: Table, one: str, two: str) -> float | None:
    return next((pair.p for pair in table.pairs if set(pair.names) == {one, two}), None)


def _mean(row: StageScores) -> float:
    return mean_sd(row.last.values())[0] or 0.0


def _steps(collected: ReportData) -> Iterator[str]:
    rows = [row for _, table in collected.tables for row in table.rows if row.last]
    if unfinished := sum(run.state != "finished" for run in collected.runs):
        yield f"Finish {pluralize(unfinished, 'run')}: the commands are under Missing items."
    for name, table in collected.tables:
        if _lacks_scratch(collected, table):
            yield f"Add a stage without `init` to {name}: the same network from scratch, to compare with."
    few = [row for row in rows if len(row.last) < _FEW]
    if few:
        counts = f" ({len(few)} of {len(rows)} rows have fewer)" if len(rows) > 1 else ""
        yield f"Train with at least {_FEW} seeds{counts}: only they show how much a result varies from run to run."
    open_questions = False
    for _, table in collected.tables:
        pair = _pair(collected, table)
        p = _p(table, pair[0].name, pair[1].name) if pair else None
        open_questions |= pair is not None and (p is None or p >= ALPHA or _mean(pair[0]) < _mean(pair[1]))
        if pair and p is not None and p >= ALPHA and (interval := pair[0].interval):
            images, width = len(pair[0].images), interval[1] - interval[0]
            name = score_name(table.score)
            yield f"Validate on more images: with {images}, the 95% interval of the {name} is {width:.2f} wide."
    for stage in collected.of("train") if open_questions else ():
        for run in stage.finished[:1]:
            data = run.record.get("data")
            where = (
                f" on {data['images']:,} images"
                if isinstance(data, dict) and isinstance(data.get("images"), int)
                else ""
            )
            length = training_length({**run.run_toml, "epochs": run.last.get("epoch", 0)})
            yield f"Pre-train longer or on more images: {stage.label} had {length}{where}."
    rising = [
        row for row in rows if row.last == row.best and any(len(each) > 1 for each in row.history.values())
    ]
    if rising and 2 * len(rising) >= len(rows):
        counts = f"{len(rising)} of {len(rows)} rows are" if len(rows) > 1 else "the result is"
        yield f"Fine-tune longer: {counts} best in the last epoch."
