"""The scores of a report's runs over epochs: a line for each stage."""

from dataclasses import dataclass

from ssl_seg.reporting.records import ReportData
from ssl_seg.reporting.score_charts import ChartedRuns, score_charts


@dataclass(frozen=True)
class Curves:
    """The scores of a command's runs over epochs.

    Attributes:
        legend: (stage, index of its color).
        charts: (quantity, SVG).
        bands: whether a stage has several seeds. training: whether a chart has scores on the training images too.
    """

    command: str
    legend: list[tuple[str, int]]
    charts: list[tuple[str, str]]
    bands: bool
    training: bool


def curves(collected: ReportData, command: str) -> Curves:
    """Draw every score of a command's runs."""
    indices = collected.color_indices
    stages = sorted(collected.of(command), key=lambda stage: indices[stage.stage.name])
    charts, training = score_charts(
        [
            ChartedRuns(
                stage.stage.name, indices[stage.stage.name], [(run.name, run.scores) for run in stage.runs]
            )
            for stage in stages
        ]
    )
    legend = [(stage.label, indices[stage.stage.name]) for stage in stages]
    return Curves(command, legend, charts, any(len(stage.runs) > 1 for stage in stages), training)
