"""The live page: what it reads and when, what it says of runs, and what its server answers."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ssl_seg.errors import ResourceError
from ssl_seg.reporting import live_runs
from ssl_seg.reporting.live_page import LivePage
from ssl_seg.reporting.live_runs import LiveRuns
from ssl_seg.reporting.live_server import LiveServer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def by_name(root):
    return {run.name: run for run in LiveRuns(root).read()}


@pytest.fixture
def reads(monkeypatch):
    """The folders whose files were read."""
    found = []

    def counted(folder, **given):
        found.append(folder.name)
        return summarise(folder, **given)

    summarise = live_runs.summarise
    monkeypatch.setattr(live_runs, "summarise", counted)
    return found


def test_only_what_has_changed_is_read_again(live, tmp_path, reads):
    for number in range(300):
        live.write_run(tmp_path / f"run-{number}")
    runs = LiveRuns(tmp_path)
    assert len(runs.read()) == len(reads) == 300
    reads.clear()
    runs.read()
    assert reads == []
    live.write_run(tmp_path / "run-7", epochs=3)
    (seventh,) = (run for run in runs.read() if run.name == "run-7")
    assert (reads, seventh.summary.epochs) == (["run-7"], 3)


def test_a_run_that_is_gone_is_left_out(live, tmp_path):
    runs = LiveRuns(tmp_path)
    folder = live.write_run(tmp_path / "a")
    assert len(runs.read()) == 1
    folder.rename(tmp_path.with_name("elsewhere"))
    assert runs.read() == []


def test_the_time_left_is_of_the_latest_epochs_and_runs_on(live, tmp_path):
    live.write_run(tmp_path / "a", epochs=2, planned=10)
    live.write_run(tmp_path / "old", epochs=2, planned=10, age=20)
    live.write_run(tmp_path / "done", epochs=10, planned=10, state="finished")
    live.write_run(tmp_path / "new", epochs=0, planned=10)
    runs = by_name(tmp_path)
    assert runs["a"].remaining == pytest.approx(8 * 30, abs=3)
    assert runs["old"].remaining == pytest.approx(8 * 30 - 20, abs=3)
    assert runs["done"].remaining is None
    assert runs["new"].remaining is None


def test_epochs_that_were_seen_to_end_count_with_their_validation(live, tmp_path):
    runs = LiveRuns(tmp_path)
    live.write_run(tmp_path / "a", epochs=2, planned=10, age=100)
    runs.read()
    live.write_run(tmp_path / "a", epochs=4, planned=10)
    (run,) = runs.read()
    assert run.remaining == pytest.approx(6 * 50, abs=3), "100 s for two epochs, of which 60 s are training"


def test_a_run_that_was_killed_is_silent(live, tmp_path):
    live.write_run(tmp_path / "a", age=3600)
    live.write_run(tmp_path / "b", age=500)
    runs = by_name(tmp_path)
    assert runs["a"].silent == pytest.approx(3600, abs=3)
    assert runs["a"].remaining is None
    assert runs["b"].silent == 0


def test_runs_of_a_study_have_the_names_of_their_stages(live, tmp_path):
    study = live.write_study(tmp_path / "s", {"A": {"0": "x", "1": "y"}, "B": {"0": "z"}})
    live.write_run(study / "x")
    live.write_run(study / "y")
    live.write_run(study / "stray")
    assert {run.name: run.group for run in LiveRuns(tmp_path).read()} == {
        "s@A:0": "s@A",
        "s@A:1": "s@A",
        "s@B:0": "s@B",
        "s/stray": "s/stray",
    }
    assert by_name(study)["B:0"].summary.state == "not started"
    assert set(by_name(study)) == {"A:0", "A:1", "B:0", "stray"}
    (study / "study.json").write_text("{")
    assert set(by_name(study)) == {"x", "y", "stray"}


def test_a_run_itself_can_be_watched(live, tmp_path):
    assert set(by_name(live.write_run(tmp_path / "only"))) == {"only"}


WRONG = {
    "run.toml": "epochs = true\nssl = [",
    "status.json": "[]",
    "scores.jsonl": '{"epoch": 1, "loss": NaN, "seconds": 1e999}\n\xff\n{"epoch": 2, "probe_knn": "x"}\n{"ep',
}


@pytest.mark.parametrize("name", WRONG)
def test_damaged_files_take_nothing_else_away(live, tmp_path, name):
    live.write_run(tmp_path / "whole")
    folder = live.write_run(tmp_path / "bad")
    (folder / name).write_text(WRONG[name], encoding="latin-1")
    text = "".join(part.html for part in LivePage(tmp_path, "x").parts())
    assert "whole" in text
    assert "bad" in text


def test_odd_values_are_shown(live, tmp_path):
    live.write_run(tmp_path / "a", planned=-3)
    live.write_run(tmp_path / "b", planned=10**30)
    live.write_run(tmp_path / "c", command="<script>", epochs=1)
    live.write_run(tmp_path / "d", state="<b>", backbone=["x"])
    text = "".join(part.html for part in LivePage(tmp_path, "x").parts())
    assert "<script>" not in text
    assert "&lt;b&gt;" in text


def test_each_run_has_a_line_and_a_row(live, tmp_path):
    study = live.write_study(tmp_path, {"A": {"0": "x", "1": "y"}})
    for name in ("x", "y"):
        live.write_run(study / name, command="classify", score="val_top1", epochs=3)
    parts = {part.name: part.html for part in LivePage(study, "x").parts()}
    assert list(parts) == ["overview", "runs-classify", "curves-classify"]
    assert "2 running" in parts["overview"]
    told = re.findall(r"<title>(A:.\nepoch 3: top-1 accuracy [\d.]+)</title>", parts["curves-classify"])
    assert told == [f"A:{seed}\nepoch 3: top-1 accuracy 0.8333" for seed in (0, 1)]
    assert parts["runs-classify"].count("swatch k0") == 2, "seeds of a stage have one color"
    assert parts["runs-classify"].count(">0.833<") == 4, "best and last"


def test_of_many_runs_the_latest_have_colors_and_keep_them(live, tmp_path):
    for number in range(30):
        live.write_run(tmp_path / f"run-{number:02}", age=300 - number, state="finished")
    page = LivePage(tmp_path, "x")

    def colors():
        html = "".join(part.html for part in page.parts())
        assert html.count('class="line behind"') == 2 * 14, "loss and score of the others"
        rows = re.findall(r'<th scope="row">(?:<span class="swatch (k\d s\d)".*?</span>)?([\w-]+)</th>', html)
        assert len(rows) == 30
        return {name: color for color, name in rows if color}

    before = colors()
    assert set(before) == {f"run-{number}" for number in range(14, 30)}
    assert len(set(before.values())) == 16
    live.write_run(tmp_path / "run-03")
    after = colors()
    assert set(after) == before.keys() - {"run-14"} | {"run-03"}
    assert after["run-03"] == before["run-14"]
    assert all(after[name] == before[name] for name in after.keys() & before.keys())


def test_unchanged_parts_keep_their_digest(live, tmp_path):
    live.write_run(tmp_path / "a", state="finished")
    live.write_run(tmp_path / "b", command="segment", score="val_miou")
    page = LivePage(tmp_path, "x")
    before, (same, *_) = page.parts(), page.parts()
    assert same == before[0]
    live.write_run(tmp_path / "b", command="segment", score="val_miou", epochs=3)
    changed = {part.name for part in set(page.parts()) - set(before)}
    assert changed == {"runs-segment", "curves-segment"}


@pytest.fixture
def server(live, tmp_path):
    live.write_run(tmp_path / "runs" / "<img src=x>", state="finished")
    (tmp_path / "secret").write_text("secret")
    with LiveServer(tmp_path / "runs") as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join(10)


def ask(server, path, method="GET", hosts=("localhost",)):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def test_it_serves_the_page_and_its_parts(server):
    status, page, headers = ask(server, "/")
    assert status == 200
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page
    assert headers["Cache-Control"] == "no-store"
    known = json.loads(ask(server, "/parts")[1])
    assert f'data-token="{known["token"]}"' in page
    for name, digest in known["parts"]:
        status, part, _ = ask(server, f"/part/{digest}")
        assert status == 200
        assert f'<section id="{name}" data-digest="{digest}">{part}</section>' in page
    assert ask(server, "/", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/secret",
        "/../secret",
        "/%2e%2e/secret",
        "//etc/passwd",
        "/part/../../secret",
        "/part/",
        "/runs",
        "*",
        "/?x",
    ],
)
def test_it_serves_nothing_else(server, path):
    status, text, _ = ask(server, path)
    assert (status, text) == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_reads(server, method):
    assert ask(server, "/", method)[0] == 501


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.example",),
        ("evil.example:8500",),
        ("localhost", "evil.example"),
        ("localhost.evil",),
        ("",),
    ],
)
@pytest.mark.parametrize("path", ["/", "/parts", "/secret"])
def test_pages_of_other_names_get_no_answer(server, hosts, path):
    assert ask(server, path, hosts=hosts)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8500", "localhost:9", "LOCALHOST", "127.0.0.1"])
def test_a_tunnel_may_have_another_port(server, host):
    assert ask(server, "/parts", hosts=(host,))[0] == 200


def test_it_listens_on_the_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_client_that_says_nothing_keeps_nobody_waiting(server):
    with socket.create_connection(server.server_address, timeout=10):
        assert ask(server, "/parts")[0] == 200


def test_one_reading_serves_many_tabs(server, reads):
    ask(server, "/parts")
    reads.clear()
    for _ in range(20):
        ask(server, "/parts")
    assert len(reads) <= 1


def test_a_fault_of_one_reading_is_told_and_passes(server, monkeypatch):
    ask(server, "/parts")
    server._due = 0.0
    with monkeypatch.context() as patch:
        patch.setattr(server._page, "parts", lambda: 1 / 0)
        assert ask(server, "/parts")[0] == 500
    assert ask(server, "/parts")[0] == 200


def test_a_port_that_is_taken_is_an_error_with_a_way_out(server, tmp_path):
    with pytest.raises(ResourceError, match="cannot serve on port") as error:
        LiveServer(tmp_path, server.server_address[1])
    assert "--port 0" in error.value.next


def test_the_page_loads_without_torch():
    code = "import sys, ssl_seg.reporting.live_server; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_no_outside_address_is_in_the_page(live, tmp_path):
    live.write_run(tmp_path / "a")
    page = LivePage(tmp_path, "x")
    text = page.page(page.parts(), "t")
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "connect-src 'self'" in text
    assert Path(live_runs.__file__).with_name("live.js").read_text() in text
