"""The kit for observers and commands: green on sound ones, red with the right sentence on faults."""

import sys
import types

import pytest
import typer

from ssl_seg.testing import check_command, check_observer


def module(code, monkeypatch):
    """A module of that code, with `hookimpl` at hand."""
    made = types.ModuleType("my_observer")
    exec("from ssl_seg import hookimpl\n" + code, vars(made))  # noqa: S102  it is ours
    monkeypatch.setitem(sys.modules, "my_observer", made)
    return made


SOUND = """
seen = []
@hookimpl
def run_start(run):
    seen.append((run.settings()["epochs"], run.scores()))
@hookimpl
def step_end(step, scores):
    seen.append((step, float(scores["loss"])))
@hookimpl
def epoch_end(run, epoch, scores):
    seen.append((epoch, run.scores()[-1]["loss"] == scores["loss"]))
    return "stop" if epoch == 2 else None
@hookimpl
def run_end(run):
    (run.folder / "mine.txt").write_text(str(len(run.scores())))
    seen.append((run.folder / "mine.txt").read_text())
"""


def test_a_sound_module_passes_and_has_seen_a_run(monkeypatch):
    made = module(SOUND, monkeypatch)
    check_observer(made)
    steps = {step: (step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)}
    assert made.seen == [(2, []), steps[1], steps[2], (1, True), steps[3], steps[4], (2, True), "2"]


def test_an_object_with_hooks_as_methods_passes():
    class Watches:
        epochs = 0

        def epoch_end(self, epoch):
            self.epochs = epoch

    check_observer(watcher := Watches())
    assert watcher.epochs == 2


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("", "no observer hook found; expected one of run_start, step_end, epoch_end, run_end"),
        ("def epoch_end(run): ...", "epoch_end is not marked @hookimpl"),
        ("@hookimpl\ndef epoch_ends(run): ...", "no hook 'epoch_ends'; did you mean 'epoch_end'"),
        ("@hookimpl\ndef run_end(run, epoch): ...", "epoch"),
        ("@hookimpl\ndef run_end(run):\n    raise KeyError('loss')", "run_end failed: KeyError: 'loss'"),
        (
            "@hookimpl\ndef epoch_end(epoch):\n    return epoch > 3",
            'epoch_end must return None or "stop", got False',
        ),
        ("@hookimpl\ndef epoch_end(scores):\n    scores.clear()", "epoch_end modifies its scores"),
        (
            "@hookimpl\ndef epoch_end(run):\n    (run.folder / 'scores.jsonl').write_text('')",
            "epoch_end modifies scores.jsonl of the run",
        ),
        (
            "@hookimpl\ndef run_start(run):\n    (run.folder / 'run.toml').unlink()",
            "run_start modifies run.toml of the run",
        ),
    ],
)
def test_a_fault_of_an_observer_is_named(monkeypatch, code, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_observer(module(code, monkeypatch))


def test_an_argument_that_no_hook_offers_is_named():
    class Wants:
        def run_end(self, model): ...

    with pytest.raises(AssertionError, match="run_end has no argument 'model'; available: run"):
        check_observer(Wants())


def app_of(*functions):
    app = typer.Typer()
    for function in functions:
        app.command()(function)
    return app


def greet(name: str):
    """Say hello."""


def silent(name: str): ...


def test_a_sound_command_and_a_group_pass():
    check_command(app_of(greet))
    group = typer.Typer()
    group.add_typer(app_of(greet), name="more")
    check_command(group)


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        (typer.Typer(), "the app has no command"),
        (greet, "must be a typer.Typer, not function"),
        (app_of(greet, silent), "silent has no help text"),
    ],
)
def test_a_fault_of_a_command_is_named(app, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_command(app)
