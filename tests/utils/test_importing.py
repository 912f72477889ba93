"""The fence around an import: whatever foreign code raises, changes or ends, it is named and nobody else is harmed."""

import logging
import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_seg.utils import importing, surroundings
from ssl_seg.utils.importing import ImportFault, import_fence
from ssl_seg.utils.interrupt import Interrupted, interruptible
from ssl_seg.utils.surroundings import restored


class Odd(BaseException):
    def __str__(self):
        raise RuntimeError("no text either")


def raises(error):
    raise error


def leaves_early(name):
    """As `from os import _exit` in a plugin: the name is bound during the import."""
    module = __import__(name)
    module._exit(0)


ENDS = {
    "an error": (lambda: raises(KeyError("x\n\x1b")), r"KeyError: 'x\n\x1b'"),
    "sys.exit": (lambda: sys.exit(0), "SystemExit: 0"),
    "KeyboardInterrupt": (lambda: raises(KeyboardInterrupt), "KeyboardInterrupt"),
    "GeneratorExit": (lambda: raises(GeneratorExit), "GeneratorExit"),
    "an odd one": (lambda: raises(Odd()), "Odd"),
    "os._exit": (lambda: os._exit(0), "its import exits the process: os._exit(0)"),
    "posix._exit": (lambda: leaves_early("posix"), "its import exits the process: os._exit(0)"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("listening", [False, True], ids=["in Python", "in a command"])
def test_whatever_it_raises_is_one_line_of_text(end, listening):
    act, text = ENDS[end]
    real = os._exit
    around = interruptible() if listening else nullcontext()
    with around, pytest.raises(ImportFault) as caught, import_fence("it"):
        act()
    assert str(caught.value) == text
    assert os._exit is real


def test_its_forks_and_what_it_keeps_may_end():
    with import_fence("it"):
        kept = os._exit
        if (pid := os.fork()) == 0:
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    if (pid := os.fork()) == 0:
        kept(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4


def test_a_person_who_interrupts_is_obeyed():
    with pytest.raises(KeyboardInterrupt), import_fence("it"):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(Interrupted), interruptible(), import_fence("it"):
        signal.raise_signal(signal.SIGINT)


def set_numpy(seed):
    np.random.seed(seed)


CHANGES = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's grad mode": lambda: torch.set_grad_enabled(False),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's deterministic mode": lambda: torch.use_deterministic_algorithms(True),
    "torch's float32 matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's generator": lambda: torch.manual_seed(4711),
    "torch's CUDA generators": None,  # there is none here
    "numpy's generator": lambda: set_numpy(4711),
    "numpy's error handling": lambda: np.seterr(all="raise"),
    "Python's generator": lambda: random.seed(4711),
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "the working directory": lambda: os.chdir("/"),
    "sys.stdin": lambda: setattr(sys, "stdin", None),
    "sys.stdout": lambda: setattr(sys, "stdout", None),
    "sys.stderr": lambda: setattr(sys, "stderr", None),
    "sys.excepthook": lambda: setattr(sys, "excepthook", print),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
}
STATES = {state.name: state for state in (*surroundings._NUMBERS, *surroundings._PROCESS)}


def test_every_state_is_changed_here():
    assert list(CHANGES) == list(STATES)


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if change])
def test_what_it_changes_is_set_back_and_named(name):
    state = STATES[name]
    before = state.read()
    with import_fence("it") as changed:
        CHANGES[name]()
        assert not state.same(state.read(), before)
    assert state.same(state.read(), before)
    assert changed == [name]
    with pytest.raises(ImportFault), import_fence("it"):
        CHANGES[name]()
        raise KeyError
    assert state.same(state.read(), before)


def test_a_generator_goes_on_where_it_was():
    for draw in (lambda: torch.rand(1).item(), np.random.rand, random.random):
        with restored(numbers_only=True):
            expected = [draw() for _ in range(3)]
        assert [draw() for _ in range(3)] == expected


def test_what_changes_nothing_is_not_named():
    with import_fence("it") as changed:
        torch.zeros(2)
    assert changed == []


def test_a_long_import_is_named_and_given_up_in_the_end(monkeypatch, caplog):
    monkeypatch.setattr(importing, "_SAID", 0.05)
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.15")
    fence = import_fence("plugin 'slow' of slow 1.2", name="slow")
    with caplog.at_level(logging.WARNING), pytest.raises(ImportFault) as caught, fence:
        while True:
            with suppress(Exception):
                pass
    said = "still importing plugin 'slow' of slow 1.2; SSL_SEG_DISABLE_PLUGINS=slow disables it"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert str(caught.value) == "import timed out after 0 s; SSL_SEG_DISABLE_PLUGINS=slow disables it"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


DYING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ssl_seg.utils.importing import import_fence
with import_fence("it", name="dying", module="dying", notes=Path(sys.argv[1]) / "notes"):
    import dying
"""
DEATHS = {
    "signal 9": ("import os\nos.kill(os.getpid(), 9)", -9, "by signal 9"),
    "a crash": ("import ctypes\nctypes.string_at(0)", -signal.SIGSEGV, "by signal 11"),
    "the end": ("import ctypes\nctypes.CDLL(None)._exit(0)", 0, "with exit code 0"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_is_blamed_on_it_by_the_next_process(tmp_path, monkeypatch, death):
    code, expected, how = DEATHS[death]
    (tmp_path / "dying.py").write_text(code)
    words = [sys.executable, "-c", DYING, str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == expected, ended.stderr
    assert ("dying.py" in ended.stderr) == (death == "a crash")  # at once, if something can be said at all
    monkeypatch.syspath_prepend(tmp_path)
    fence = {"name": "dying", "module": "dying", "notes": tmp_path / "notes"}
    for _ in range(2):  # nor does the one after it
        with pytest.raises(ImportFault) as caught, import_fence("it", **fence):
            raise AssertionError("it is not imported")
        text = f"a subprocess that imports it was ended {how}; SSL_SEG_DISABLE_PLUGINS=dying disables it"
        assert str(caught.value) == text
    (tmp_path / "dying.py").write_text("")
    with import_fence("it", **fence):
        pass
    assert (tmp_path / "notes" / "dying").read_bytes() == b""


def test_a_trial_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "sleeping.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.3")
    (tmp_path / "sleeping").write_text("x")
    fence = import_fence("it", module="sleeping", notes=tmp_path)
    with pytest.raises(ImportFault, match="timed out"), fence:
        raise AssertionError("it is not imported")


@pytest.mark.parametrize("how", ["raises", "interrupted"])
def test_a_process_that_lives_on_leaves_no_note(tmp_path, how):
    with pytest.raises((ImportFault, KeyboardInterrupt)), import_fence("it", module="m", notes=tmp_path):
        assert (tmp_path / "m").read_bytes() == b"x"
        signal.raise_signal(signal.SIGINT) if how == "interrupted" else raises(KeyError())
    assert (tmp_path / "m").read_bytes() == b""


def test_a_note_of_a_process_that_lives_says_nothing(tmp_path):
    with import_fence("it", module="m", notes=tmp_path), import_fence("it", module="m", notes=tmp_path):
        assert (tmp_path / "m").read_bytes() == b"x"


def test_a_note_is_not_written_through_a_link_or_where_nothing_can_be(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "m").symlink_to(tmp_path / "victim")
    for folder in (tmp_path, tmp_path / "victim"):
        with import_fence("it", module="m", notes=folder):
            assert Path(tmp_path / "victim").read_text() == "mine"
