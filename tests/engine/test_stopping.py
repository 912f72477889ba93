"""The rules by which a run ends before its last step."""

import math

import pytest

from ssl_seg.engine.stopping import Stopping, read_duration, read_early_stop
from ssl_seg.errors import UsageError


def lines(*values, name="val_miou"):
    return [{"epoch": epoch, "loss": 1.0, name: value} for epoch, value in enumerate(values, 1)]


def reason_after(*values, patience=2, metric="val_miou"):
    stopping = Stopping(metric=metric, patience=patience)
    stopping.check_scores(lines(*values, name=metric))
    return stopping.reason


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((0.1,), False),
        ((0.3, 0.2), False),
        ((0.3, 0.2, 0.1), True),
        ((0.3, 0.3, 0.3), True),  # as good is no improvement
        ((0.3, 0.2, 0.31), False),
        ((0.3, math.nan, math.nan), True),
        ((math.nan, math.nan, 0.1), False),
    ],
)
def test_ends_when_so_many_measurements_are_no_better(values, ends):
    assert bool(reason_after(*values)) == ends


def test_a_loss_has_to_fall():
    assert not reason_after(3.0, 2.0, 1.0, metric="val_loss")
    assert reason_after(1.0, 2.0, 3.0, metric="val_loss") == (
        "val_loss did not improve on 1.0000 of epoch 1 for 2 measurements"
    )


def test_only_epochs_that_were_measured_count():
    stopping = Stopping(metric="val_miou", patience=2)
    measured = lines(0.3, 0.2)
    stopping.check_scores([measured[0], {"epoch": 2}, {"epoch": 3}, {**measured[1], "epoch": 4}])
    assert not stopping.reason


def test_a_score_that_is_never_measured_is_an_error():
    with pytest.raises(UsageError, match=r"no score 'val_mio' to stop by; did you mean 'val_miou'"):
        reason = Stopping(metric="val_mio")
        reason.check_scores(lines(0.1))
    Stopping(metric="val_miou").check_scores([{"epoch": 1, "loss": 1.0}])  # it may be measured later


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("10 min", 600)],
)
def test_times(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "-1h", "0h", "1m2h", "nan", "1e3s"])
def test_no_times(text):
    with pytest.raises(UsageError, match="takes a time"):
        read_duration(text)


def test_early_stop_texts():
    assert read_early_stop("val_top1:5") == ("val_top1", 5)
    for text in ("val_top1", "val_top1:", ":5", "val_top1:0", "val_top1:-1", "val_top1:x"):
        with pytest.raises(UsageError, match="METRIC:PATIENCE"):
            read_early_stop(text)
