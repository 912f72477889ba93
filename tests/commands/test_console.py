"""What a terminal shows while something long goes on."""

import os
import pty
import re
import subprocess
import sys
import termios
import threading

import pytest

from ssl_seg.errors import pluralize

SCRIPT = """
from types import SimpleNamespace
from ssl_seg.utils.progress import ProgressDisplay

with ProgressDisplay() as console:
    pulse = SimpleNamespace(epoch=12, epochs=350, loss=3.66, images_per_second=1234.5, data_wait_fraction=0.07,
                            memory=0, eta_seconds=4800, step=12345, total_steps=99999, steps_since_start=0)
    console.training(pulse)
    console._progress.refresh()
"""


def shown_on(columns):
    """The last line that a terminal of so many columns has got."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    parts = []

    def read():
        try:
            while part := os.read(ours, 4096):
                parts.append(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(60) == 0
    reader.join(10)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(parts).decode())
    return next(line for line in reversed(text.replace("\r", "\n").split("\n")) if line.strip())


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_terminal_of_any_width_shows_how_far_it_is(columns):
    line = shown_on(columns)
    assert len(line) <= columns
    assert line.startswith("training ") and "12345/99999" in line and "epoch 12/350" in line
    assert ("data 7%" in line) == (columns > 120)
    assert ("left" in line) == (columns > 90)


def test_one_is_not_several():
    assert [pluralize(count, "epoch") for count in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
