"""Damage to what a finished run has left: every reader says so, whatever the file."""

import json

import pytest

from ssl_seg.engine.run_dir import RUN_FILES, Run
from ssl_seg.results.run_digests import damage

WITHOUT = {  # files of a run that its digests do not cover
    "digests.json": "itself",
    "status.json": "has a digest of its own, as it is written again when a run has ended",
    "run.log": "is for people, and grows",
    "tracking.json": "belongs to the trackers",
    "backbone.safetensors": "has a digest in its header",
    "model.safetensors": "has a digest in its header",
    "best.safetensors": "has a digest in its header",
}
SUMMED = [name for name in RUN_FILES if name not in WITHOUT]


@pytest.fixture
def finished(tmp_path):
    """A folder that a run has finished, with each of its small files."""
    folder = tmp_path / "run"
    with Run(folder) as run:
        run.write_config({"data": "photos", "epochs": 1, "lr": 0.5, "record": {"command": "train"}})
        run.set_status("running", step=0)
        run.append_scores({"epoch": 1, "step": 4, "loss": 0.5})
        for name in SUMMED:
            if not (folder / name).exists():
                (folder / name).write_text('{"last": {"epoch": 1}}')
        run.set_status("finished", step=4, code=0)
    return folder


def flip(path, bit=100):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", SUMMED)
def test_each_file(name, finished):
    assert damage(finished) == []
    flip(finished / name)
    assert damage(finished) == [f"{name} is corrupt, or was edited after the run"]
    (finished / name).unlink()
    assert damage(finished) == []  # that it is gone is said by those who look for it
    (finished / name).mkdir()
    assert damage(finished) == [f"{name} is corrupt, or was edited after the run"]


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b'{"run.toml": 3}', b'{"run.toml": {"size": 3}}'])
def test_the_digests_themselves(text, finished):
    (finished / "digests.json").write_bytes(text)
    assert [line.partition(" (")[0] for line in damage(finished)] == ["digests.json is corrupt"]


def test_a_run_that_goes_on_has_none(finished):
    with Run(finished, resume=True) as run:
        run.set_status("running", step=4)
        run.append_scores({"epoch": 2, "step": 8, "loss": 0.25})
        assert damage(finished) == [] and not (finished / "digests.json").exists()
        run.set_status("finished", step=8, code=0)
    flip(finished / "scores.jsonl")
    assert damage(finished) == ["scores.jsonl is corrupt, or was edited after the run"]


READERS = {
    "report": ("report", "run", "--out", "r.html"),
    "figure curves": ("figure", "curves", "run", "--out", "c"),
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_say_so(reader, finished, cli, monkeypatch, caplog):
    monkeypatch.chdir(finished.parent)
    line = json.dumps({"epoch": 1, "step": 4, "loss": 0.75}) + "\n"  # a number that may as well be right
    (finished / "scores.jsonl").write_text(line)
    code, out, err = cli(*READERS[reader])
    assert code == 0, err
    told = out + err + caplog.text + "".join(page.read_text() for page in finished.parent.glob("r.md"))
    assert "scores.jsonl is corrupt, or was edited after the run" in told
