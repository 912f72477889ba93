"""`ssl-seg watch` as a program: it says where its page is, and Ctrl-C ends it quietly."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def started(tmp_path):
    """Starts it; (process, address)."""
    made = []

    def start(*words):
        words = [sys.executable, "-m", "ssl_seg", "watch", *map(str, words)]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        made.append(process)
        return process, process.stdout.readline().split()[0]

    yield start
    for process in made:
        process.kill()
        process.communicate(timeout=60)


def test_ctrl_c_is_its_end(started, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scores.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n')
    process, url = started("--port", 0)
    assert url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert "1 run:" in answer.read().decode()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_other_signals_are_told(started):
    process, _ = started("--port", 0)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in err


def test_without_a_port_a_free_one_is_found(started):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8500))
        except OSError:
            pass  # somebody else has it: that will do
        else:
            taken.listen()
        _, url = started()
        assert not url.endswith(":8500/")


def test_a_taken_port_is_an_error(cli, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = cli("watch", tmp_path, "--port", taken.getsockname()[1])
    assert code == 6
    assert "cannot serve on port" in err
    assert "--port 0" in err


def test_a_folder_that_is_not_there(cli, tmp_path):
    assert cli("watch", tmp_path / "missing")[0] == 3
    assert os.listdir(tmp_path) == []
