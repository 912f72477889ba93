"""Signals: everything is saved, the exit code says which it was, and going on is exact."""

import os
import shlex
import signal
import time
from random import Random

import pytest

from ssl_seg.engine.signals import SignalHandler

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def check_stopped(trial, number: int) -> None:
    """It ended as it should: code, status and words agree with what was done."""
    status = trial.status()
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    assert (status["state"], status["code"]) == ("stopped", 128 + number)
    assert status["step"] == (trial.steps() or [0])[-1], "a step that was done is lost"
    assert status["checkpoint"] == f"step-{status['step']:06d}"
    assert trial.saved()[-1] == status["step"]
    assert trial.errors() == [
        f"error[{128 + number}] stopped by signal {number} ({name})",
        f"kept: {trial.folder}/checkpoints/{status['checkpoint']}",
        f"next: {shlex.join(['ssl-seg', *trial.resuming()])}",
    ]


def finish(trials, trial) -> None:
    assert trial.go() == 0, trial.output
    assert trials.same(trial.result(), trials.expected)
    assert trial.steps() == sorted(set(trial.steps())), "a step was done twice"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        signal.SIGHUP,
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_a_signal_at_any_point(number, trials):
    """One run for each signal, stopped at several points one after the other."""
    points = {
        signal.SIGTERM: ("before the target moves", "in the probe", "in the probe"),
        signal.SIGINT: ("after a file is synced", "after the scores", "before the target moves"),
        signal.SIGHUP: (
            "in the status",
            "before the scores",
            "after the target has moved",
        ),
        signal.SIGUSR1: ("before the rename", "in the probe", "before the target moves"),
    }[number]
    trial = trials.new(f"signal {number}")
    for point in points:
        assert trial.go(traps=[(point, 1, number)]) == 128 + number, (point, trial.output)
        check_stopped(trial, number)
    finish(trials, trial)


def test_a_signal_while_the_oldest_checkpoint_goes(trials):
    """In a run of its own: this is done beside training, which waits for it two steps later and is not over then."""
    trial = trials.new("oldest")
    code = trial.go(traps=[("before the oldest goes", 1, signal.SIGHUP)])
    assert code == 128 + signal.SIGHUP, trial.output
    check_stopped(trial, signal.SIGHUP)
    finish(trials, trial)


def random_stops(trials, seeds) -> None:
    for seed in seeds:
        random = Random(seed)
        trial, stopped = trials.new(f"signals {seed}"), 0
        for _ in range(2):
            number = random.choice(SIGNALS)
            code = trial.hurt(random.uniform(0.1, 0.9) * trials.seconds, number)
            # before the command listens, a signal ends it as it ends any process
            assert code in (128 + number, -number, 0), trial.output
            # and before it knows of its folder, it cannot say what is kept there
            known = trial.saved() and "kept: finished runs" not in trial.output
            # a signal in the last moments ends the process, and not the run, which is done
            if code == 128 + number and known and trial.status()["state"] != "finished":
                check_stopped(trial, number)
                stopped += 1
        finish(trials, trial)


def test_signals_at_random_moments(trials):
    random_stops(trials, range(1))


@pytest.mark.slow
def test_many_signals_at_random_moments(trials):
    random_stops(trials, range(10, 35))


def test_a_signal_in_the_last_step_finishes_the_run(trials):
    trial = trials.new("last")
    assert trial.go(traps=[("in the backbone file", 1, signal.SIGTERM)]) == 0
    assert trials.same(trial.result(), trials.expected)


def test_a_signal_in_the_last_probe_does_not_cost_its_score(trials):
    trial = trials.new("last probe")
    assert trial.go(traps=[("in the probe", 3, signal.SIGTERM)]) == 143
    check_stopped(trial, signal.SIGTERM)
    assert trial.status()["step"] == 8
    finish(trials, trial)


@pytest.mark.parametrize("part", ["data", "probe"])
def test_a_signal_while_images_are_read(part, trials, tmp_path):
    """Nothing half-written stays, and the same command may simply be given again."""
    trial = trials.new(f"reading {part}", cache=tmp_path / "cache")
    hit = {"data": 1, "probe": 2}[part]
    code = trial.go(traps=[("while images are read", hit, signal.SIGTERM)])
    assert code == 143, trial.output
    assert trial.status() == {"state": "stopped", "step": 0, "code": 143, "checkpoint": ""}
    image_caches = [path.name for path in trial.cache.iterdir() if path.is_dir()]
    assert len(image_caches) == hit - 1, "a store that is not whole"
    assert not trial.saved()
    finish(trials, trial)


def test_a_signal_before_the_first_step(trials):
    """There is nothing to be saved: it ends at once, and the same command may simply be given again."""
    trial = trials.new("before")
    assert trial.go(traps=[("before the first step", 1, signal.SIGINT)]) == 130
    assert trial.status() == {"state": "stopped", "step": 0, "code": 130, "checkpoint": ""}
    assert trial.errors()[-1] == f"next: {shlex.join(['ssl-seg', *trial.words()])}"
    finish(trials, trial)


def test_a_signal_while_a_resumed_run_is_not_yet_opened(halfway):
    trial = halfway("loading")
    trap = ("ssl_seg.plugins.load_plugins", "", "before", 1, signal.SIGTERM)
    assert trial.wait(trial.start(strike_at=[trap])) == 143
    assert trial.errors()[1] == f"kept: {trial.folder}/checkpoints/step-000005"
    assert trial.status()["state"] == "stopped"


def test_a_second_signal_ends_it_at_once(trials):
    trial = trials.new("twice")
    # the first comes in the main thread; the second while a thread saves, which may be over when the main thread gets it
    traps = [("before the target moves", 2, signal.SIGTERM), ("before a file is synced", 2, signal.SIGINT)]
    assert trial.go(traps=traps) == -signal.SIGINT
    assert trial.saved() in ([0], [0, 2])
    assert trial.status()["state"] == "running"
    assert trial.go() == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


def test_handlers_come_back(monkeypatch):
    def mine(number, frame):
        seen.append(number)

    seen, before = [], {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGTERM, mine)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        expected = [signal.getsignal(number) for number in SIGNALS]
        with SignalHandler() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal == 0, "nohup: what is ignored stays ignored"
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 5
            while not stop.signal and time.monotonic() < deadline:
                time.sleep(0.001)
            assert stop.signal == signal.SIGTERM
            assert seen == []
        assert [signal.getsignal(number) for number in SIGNALS] == expected
        with pytest.raises(ZeroDivisionError), SignalHandler():
            raise ZeroDivisionError
        assert [signal.getsignal(number) for number in SIGNALS] == expected
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
