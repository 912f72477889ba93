"""kill -9: at named points and at random moments, again and again; nothing is lost and nothing changes."""

import os
import signal
import subprocess
import sys
from random import Random

import pytest


def finish(trials, trial) -> None:
    assert go_on(trial) == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


def go_on(trial, **given) -> int | None:
    """Start it or go on; its first step is the one after the newest checkpoint."""
    done, newest = len(trial.steps()), max(trial.saved(), default=0)
    code = trial.go(**given)
    assert trial.steps()[done : done + 1] in ([], [newest + 1])
    return code


# Every line is one run, which is killed at its points one after the other: (point, how often it is passed)
CHAINS = (
    (
        ("in run.toml", 1),
        ("in the untrained probe", 1),
        ("before the first step", 1),
        ("before the rename", 1),
        ("in the probe", 1),
        ("in the status", 1),
        ("in the backbone file", 1),
    ),
    (
        ("after a file is synced", 3),
        ("after the rename", 1),
        ("before the oldest goes", 1),
        ("in the probe's predictions", 1),
        ("before the scores", 1),
    ),
    (
        ("before a file is opened", 3),
        ("while the oldest goes", 1),
        ("after the scores", 1),
    ),
    (
        ("before the target moves", 3),
        ("after the target has moved", 3),
        ("before a file is synced", 1),
    ),
)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: f"{chain[0][0]}, ...")
def test_kills_at_named_points(chain, trials):
    trial = trials.new(f"points {chain[0][0]}")
    for point, hit in chain:
        assert go_on(trial, traps=[(point, hit, signal.SIGKILL)]) == -signal.SIGKILL, (point, trial.output)
    finish(trials, trial)
    repeated = len(trial.steps()) - len(set(trial.steps()))
    # training goes on while a checkpoint is written, and waits for it at the next: two intervals of two steps are lost
    assert repeated <= 2 * 2 * len(chain), "more is repeated than the steps since a checkpoint"


def test_every_point_is_in_a_chain(trials):
    assert {point for chain in CHAINS for point, _ in chain} == set(trials.points) - {"while images are read"}


def chains(trials, count: int, seed: int) -> None:
    random = Random(seed)
    for number in range(count):
        trial = trials.new(f"random {seed} {number}")
        for _ in range(random.randint(1, 3)):
            trial.hurt(random.uniform(0, trials.seconds))
        finish(trials, trial)


def test_kills_at_random_moments(trials):
    chains(trials, 1, seed=1)


def test_a_kill_while_images_are_read(trials, tmp_path):
    """A cache of its own: what a killed build leaves there is cleared by the next."""
    random = Random(2)
    trial = trials.new("reading", cache=tmp_path / "cache")
    for hit in (1, 2):  # the images, then those of the probe
        assert trial.go(traps=[("while images are read", hit, signal.SIGKILL)]) == -signal.SIGKILL
    trial.hurt(random.uniform(0.05, 0.4) * trials.seconds)
    finish(trials, trial)
    assert not [path.name for path in trial.cache.iterdir() if ".tmp-" in path.name]


def test_control_a_step_that_is_done_twice_would_be_noticed(trials):
    """The comparison is not blind: a target that moves once too often makes another result."""
    trial = trials.new("control", flags=["--seed", "1"])
    assert trial.go() == 0
    assert not trials.same(trial.result(), trials.expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_kills_at_random_moments(trials, seed):
    chains(trials, 5, seed)


@pytest.mark.slow
def test_a_fresh_interpreter_that_is_killed(trials):
    """The real command, so that forking hides nothing."""
    trial, random = trials.new("real"), Random(3)
    environment = os.environ | {"SSL_SEG_CACHE": str(trial.cache), "OMP_NUM_THREADS": "1"}
    script = "import sys; from ssl_seg.cli import main; main()"
    kills = 0
    for _ in range(20):
        begun = any(trial.folder.glob("checkpoints/step-*"))
        words = trial.resuming() if begun else trial.words()
        command = [sys.executable, "-c", script, *words]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            if kills < 3:
                for line in process.stderr:
                    if line.startswith(("run:", "epoch")) and random.random() < 0.7:
                        process.kill()
                        kills += 1
                        break
            process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert kills >= 2
    assert trials.same(trial.result(), trials.expected)
