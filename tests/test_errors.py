"""Exit codes and how an error is told."""

import pickle

import pytest

from ssl_seg import errors


def test_the_exit_codes_are_the_documented_ones():
    codes = {
        errors.SslSegError: 1,
        errors.UsageError: 2,
        errors.DataError: 3,
        errors.WeightsError: 4,
        errors.HealthError: 5,
        errors.ResourceError: 6,
        errors.PluginError: 7,
        errors.DistributedError: 8,
        errors.OutputInUseError: 9,
    }
    for kind, code in codes.items():
        assert kind("what").code == code
    assert [errors.Stopped(number).code for number in (2, 15)] == [130, 143]
    known = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert known == {*codes, errors.Stopped}


def test_an_error_says_what_where_kept_and_next():
    error = errors.DataError("no image", where="folder", kept="step-7", next="ls folder")
    assert errors.render(error) == "error[3] no image\nwhere: folder\nkept: step-7\nnext: ls folder"
    assert errors.render(errors.UsageError("wrong")) == "error[2] wrong"


def test_an_error_has_at_most_twelve_lines_and_keeps_its_end():
    error = errors.WeightsError("\n".join(f"line {n}" for n in range(40)), where="file", next="do this")
    lines = errors.render(error).splitlines()
    assert len(lines) == 12
    assert lines[0] == "error[4] line 0"
    assert lines[-3:] == ["...", "where: file", "next: do this"]


@pytest.mark.parametrize(
    ("name", "answer"), [("simclear", "; did you mean 'simclr'?"), ("zzz", ""), ("", "")]
)
def test_did_you_mean(name, answer):
    assert errors.did_you_mean(name, ["byol", "simclr"]) == answer


@pytest.mark.parametrize("kind", [errors.SslSegError, *errors.SslSegError.__subclasses__()])
def test_an_error_reaches_another_process(kind):
    """Launchers send what a worker has raised to their own process."""
    error = kind(15 if kind is errors.Stopped else "what", kept="step-000002", next="rerun")
    error.reported = True
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
