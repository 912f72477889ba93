"""Sums, means and times, by a clock that the test turns."""

import json
from contextlib import suppress

import pytest
import torch

from ssl_seg.engine import metric_logger as module
from ssl_seg.engine.energy import EnergyCounter, EnergyMeter
from ssl_seg.engine.metric_logger import MetricLogger


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


LOSSES = [5.0, 4.0, 3.5, 2.0, 1.5, 1.0, 0.5, 0.25]


def step(meter, index, parts=1):
    """A step whose parts have losses around `LOSSES[index]`."""
    for part in range(parts):
        spread = part - (parts - 1) / 2
        loss = torch.tensor(LOSSES[index] + spread, requires_grad=True)
        meter.update(
            {"loss": loss, "extra": torch.tensor(10.0 * index), "embedding": torch.ones(3, 2)}, 1 / parts
        )
    meter.on_step_end()


def numbers(scores):
    """The scores that do not depend on the clock."""
    return {name: value for name, value in scores.items() if name not in ("seconds", "images_per_second")}


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_scores_are_the_means_of_each_epoch(clock, parts):
    meter, scores = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16), []
    meter.start()
    for index in range(8):
        step(meter, index, parts)
        if (index + 1) % 4 == 0:
            scores.append(meter.epoch_scores(index + 1))
            meter.start_epoch()
    assert numbers(scores[0]) == pytest.approx({"epoch": 1, "step": 4, "loss": 14.5 / 4, "extra": 15.0})
    assert numbers(scores[1]) == pytest.approx({"epoch": 2, "step": 8, "loss": 3.25 / 4, "extra": 55.0})


def test_long_sums_are_kept_in_double():
    meter = MetricLogger(total_steps=1, steps_per_epoch=20_000, batch_size=1)
    for _ in range(20_000):
        meter.update({"loss": torch.tensor(0.1)}, 1.0)
    loss = meter.epoch_scores(20_000)["loss"]
    assert loss == pytest.approx(torch.tensor(0.1).item(), rel=1e-12)


def test_of_notes_the_last_ones_count_and_an_epoch_forgets_them(clock):
    meter = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    step(meter, 0)
    meter.set_values({"rank": 3.0, "spread": 0.5})
    meter.set_values({"rank": 7.0})
    scores = meter.epoch_scores(4)
    assert (scores["rank"], scores["spread"]) == (7.0, 0.5)
    meter.start_epoch()
    step(meter, 4)
    assert "rank" not in meter.epoch_scores(8)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7])
def test_a_meter_restored_in_the_middle_gives_the_same_scores(clock, cut):
    def run(meter, start, stop):
        scores = []
        for index in range(start, stop):
            clock.now += 2.0 + index
            step(meter, index)
            if index in (1, 5):
                meter.set_values({"rank": float(index)})
            if (index + 1) % 4 == 0:
                scores.append(meter.epoch_scores(index + 1))
                meter.start_epoch()
        return scores

    whole = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    expected = run(whole, 0, 8)
    first = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    scores = run(first, 0, cut)
    state = json.loads(json.dumps(first.state_dict()))  # as a checkpoint holds it
    clock.now += 500.0  # nothing was running meanwhile
    second = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    second.load_state_dict(state)
    second.start()
    scores += run(second, cut, 8)
    for mine, theirs in zip(scores, expected, strict=True):
        assert mine == pytest.approx(theirs)


def test_speed_is_that_of_the_epoch_without_what_came_between(clock):
    meter = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    meter.start()
    for index in range(4):
        clock.now += 2.0
        step(meter, index)
    assert meter.epoch_scores(4)["images_per_second"] == 8.0
    clock.now += 100.0  # a probe, say
    meter.start_epoch()
    for index in range(4, 8):
        clock.now += 0.5
        step(meter, index)
    scores = meter.epoch_scores(8)
    assert scores["images_per_second"] == 32.0
    assert scores["seconds"] == 110.0


def test_seconds_and_energy_are_those_of_training_alone(clock):
    meter = MetricLogger(
        total_steps=4,
        steps_per_epoch=2,
        batch_size=16,
        energy=EnergyMeter([EnergyCounter(lambda: 3.0 * clock.now)]),
    )
    meter.start()
    for epoch in (1, 2):
        for index in range(2):
            clock.now += 2.0
            step(meter, index)
        meter.sync(lambda *values: values, 1)
        scores = meter.epoch_scores(2 * epoch)
        assert (scores["seconds"], scores["energy_wh"]) == (
            4.0 * epoch,
            pytest.approx(12.0 * epoch / 3600, abs=1e-4),
        )
        with suppress(ZeroDivisionError), meter.paused():
            clock.now += 1000.0  # a validation, even one that fails
            raise ZeroDivisionError
        meter.start_epoch()
    assert meter.state_dict()["seconds"] == 8.0


def test_the_pulse(clock):
    meter = MetricLogger(total_steps=10, steps_per_epoch=4, batch_size=16)
    meter.start()

    def feed(index):
        clock.now += 0.5
        return [index]

    for index in range(5):
        assert meter.time_batch(feed, index) == [index]
        clock.now += 1.5
        step(meter, index)
    pulse = meter.progress(5, memory=123)
    assert (pulse.step, pulse.total_steps, pulse.epoch, pulse.epochs) == (5, 10, 2, 3)
    assert pulse.loss == LOSSES[4]
    assert pulse.images_per_second == pytest.approx(8.0)
    assert pulse.eta_seconds == pytest.approx(10.0)
    assert pulse.data_wait_fraction == pytest.approx(0.25)
    assert (pulse.memory, pulse.steps_since_start) == (123, 5)


def test_a_pulse_comes_twice_a_second_and_at_the_end(clock):
    meter = MetricLogger(total_steps=100, steps_per_epoch=4, batch_size=16)
    meter.start()
    told = []
    for index in range(1, 101):
        clock.now += 0.125
        meter.update({"loss": torch.tensor(1.0)}, 1.0)
        meter.on_step_end()
        if meter.progress(index, 0):
            told.append(index)
    assert told == list(range(4, 101, 4))
    assert meter.progress(99, 0) is None
    assert meter.progress(100, 0) is not None, "the last step is always told"


def test_a_resumed_run_counts_its_speed_from_its_own_steps(clock):
    meter = MetricLogger(total_steps=10, steps_per_epoch=5, batch_size=16)
    meter.load_state_dict({"sums": {"loss": 9.0}, "notes": {}, "seconds": 77.0, "epoch": [6.0, 3]})
    meter.start()
    clock.now += 2.0
    step(meter, 3)
    pulse = meter.progress(4, 0)
    assert (pulse.images_per_second, pulse.steps_since_start, pulse.eta_seconds) == (8.0, 1, 12.0)
    assert meter.seconds == 79.0


class Socket:
    """What is drawn from it, in joules, if anybody knows."""

    joules = 5000.0

    def energy(self):
        return EnergyMeter([EnergyCounter(lambda: self.joules)])


def alone(*numbers):
    return numbers


def energy_of_epoch(meter, ranks=1):
    step(meter, 3)
    meter.sync(alone, ranks)
    return meter.epoch_scores(4).get("energy_wh")


def test_energy_goes_on_where_an_earlier_process_stopped():
    socket = Socket()
    first = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=socket.energy())
    socket.joules += 3600.0
    assert energy_of_epoch(first) == 1.0
    state = json.loads(json.dumps(first.state_dict()))
    socket.joules += 999_999.0  # others used it meanwhile
    second = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=socket.energy())
    second.load_state_dict(state)
    socket.joules += 1800.0
    assert energy_of_epoch(second) == 1.5


def test_energy_of_several_processes_is_their_sum_and_counted_once():
    """Three that use as much as this one; each restores the sum, and none of them adds it again."""
    socket = Socket()
    first = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=socket.energy())
    socket.joules += 3600.0
    assert energy_of_epoch(first, ranks=3) == energy_of_epoch(first, ranks=3) == 3.0
    second = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=socket.energy())
    second.load_state_dict(first.state_dict())
    socket.joules += 3600.0
    assert energy_of_epoch(second, ranks=3) == 6.0


def test_energy_that_a_part_of_the_run_could_not_tell_is_not_told():
    silent = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16)
    assert energy_of_epoch(silent) is None
    second = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=Socket().energy())
    second.load_state_dict(silent.state_dict())
    assert energy_of_epoch(second) is None
    third = MetricLogger(total_steps=8, steps_per_epoch=4, batch_size=16, energy=Socket().energy())
    step(third, 0)
    third.sync(lambda joules, known, *sums: (joules, known / 2, *sums), 2)  # the other one does not know
    assert "energy_wh" not in third.epoch_scores(4)
