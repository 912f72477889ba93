"""When a run ends before its last step: early stopping, a limit on time, an observer that asks for it."""

import math
import re
from collections.abc import Mapping, Sequence

from ssl_seg.errors import UsageError, did_you_mean, pluralize
from ssl_seg.utils.text import format_duration

MEASURED = ("val_", "probe_")  # scores that are not there in every epoch


_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


class Stopping:
    """The rules by which a run ends early.

    Args:
        max_seconds: of training; 0: no limit.
        metric: a score that must improve; empty: none. A `loss` has to fall, every other score to rise.
        patience: how many measurements in a row may be no better than the best one before.

    Attributes:
        reason: why the run has ended; empty while it has not.
        is_last: whether the epoch that is being ended is the last one.
        is_final: whether the reason holds for a resumed run too; one that ran out of time may get more.
    """

    def __init__(self, *, max_seconds: float = 0.0, metric: str = "", patience: int = 1) -> None:
        self.max_seconds, self.metric, self.patience = max_seconds, metric, patience
        self.reason, self.is_last, self.is_final = "", False, True

    def is_time_up(self, seconds: float) -> bool:
        """Whether a run that has trained for so long has to end."""
        return 0 < self.max_seconds <= seconds

    def end_by_time(self) -> None:
        """End the run, as its time is up."""
        self.reason, self.is_final = f"training took {format_duration(self.max_seconds)}", False

    def check_scores(self, lines: Sequence[Mapping[str, float]]) -> None:
        """End the run if its score has not improved for too long.

        Args:
            lines: the scores of all epochs so far, as in `scores.jsonl`.

        Raises:
            UsageError: scores were measured, and none has the name of the metric.
        """
        if not self.metric or not lines:
            return
        values = [(line["epoch"], line[self.metric]) for line in lines if self.metric in line]
        if not values:
            self._check_name(lines[-1])
            return
        sign = -1.0 if self.metric.endswith("loss") else 1.0
        ranks = [sign * value if math.isfinite(value) else -math.inf for _, value in values]
        best = max(range(len(ranks)), key=lambda index: (ranks[index], -index))
        if len(values) - 1 - best >= self.patience:
            epoch, value = values[best]
            times = pluralize(self.patience, "measurement")
            self.reason = f"{self.metric} did not improve on {value:.4f} of epoch {epoch:.0f} for {times}"

    def _check_name(self, line: Mapping[str, float]) -> None:
        prefix = next((each for each in MEASURED if self.metric.startswith(each)), "")
        if not prefix or any(name.startswith(prefix) for name in line):
            known = [name for name in line if name.startswith(MEASURED) or name.endswith("loss")]
            what = f"no score {self.metric!r} to stop by{did_you_mean(self.metric, known)}"
            raise UsageError(what, next=f"--early-stop with one of {', '.join(known)}")


def stopping_from(max_time: str | None, early_stop: str | None) -> Stopping:
    """The rules by their texts: `2h` and `val_miou:5`.

    Raises:
        UsageError: one of them cannot be read.
    """
    metric, patience = read_early_stop(early_stop or "")
    seconds = read_duration(max_time) if max_time else 0.0
    return Stopping(max_seconds=seconds, metric=metric, patience=patience)


def read_early_stop(text: str) -> tuple[str, int]:
    """`val_miou:5` -> the score and the patience; nothing of an empty text.

    Raises:
        UsageError: it is not written like that.
    """
    if not text:
        return "", 1
    metric, _, patience = text.partition(":")
    if not metric or not patience.isdecimal() or int(patience) < 1:
        raise UsageError(f"--early-stop takes METRIC:PATIENCE, got {text!r}", next="--early-stop val_miou:5")
    return metric, int(patience)


def read_duration(text: str) -> float:
    """Seconds of `2h`, `90m`, `1h30m` or `45s`.

    Raises:
        UsageError: it is not written like that, or no time at all.
    """
    found = _TIME.fullmatch(text.replace(" ", "").lower())
    hours, minutes, seconds = (float(part or 0) for part in (found.groups() if found else (0, 0, 0)))
    num_seconds = 3600 * hours + 60 * minutes + seconds
    if not num_seconds > 0:
        raise UsageError(f"--max-time takes a time, got {text!r}", next="--max-time 2h, 90m or 1h30m")
    return num_seconds
