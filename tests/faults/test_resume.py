"""What `--resume` goes by: run.toml, scores.jsonl and the status, whatever became of them."""

import hashlib
import json
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

TINY = Path(__file__).with_name("tiny.py")


def forget(trial) -> None:
    """Leave checkpoints as version 0.1.0 wrote them: without settings and scores."""
    for folder in trial.folder.glob("checkpoints/step-*"):
        state = json.loads((folder / "state.json").read_text())
        del state["settings"], state["scores"]
        data = json.dumps(state).encode()
        (folder / "state.json").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["state.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def way_back(trial) -> str:
    move = shlex.join(["mv", f"{trial.folder}/run.toml", f"{trial.folder}/run.toml.old"])
    resume = shlex.join(["ssl-seg", *RESUME.split(), str(trial.folder)])
    return f"{move}; {resume}  # restores it from the checkpoint"


# run.toml is held against the checkpoint

RESUME = f"train --backbone {TINY}:TinyBackbone --resume --out"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (r"(?m)^lr = .*$", "lr = 0.9", "lr: was 0.001, is 0.9"),
        (r"(?m)^seed = 0$", "seed = 7", "seed: was 0, is 7"),
        (r"(?m)^epochs = 2$", "epochs = 2.0", "epochs: was 2, is 2.0"),
        (r'hidden = "16"', 'hidden = "32"', "o.ssl.hidden: was '16', is '32'"),
        (r"(?m)^clip = .*$", "", "clip: was 0.0, is missing"),
        (r"(?m)^clip = .*$", "clip = 0.0\nlrr = 1", "lrr: was missing, is 1"),
        (r'fingerprint = ".', 'fingerprint = "x', "record.data.fingerprint: was '"),
        (r"(?s).*", "", "ssl: was 'byol', is missing"),
    ],
)
def test_an_edited_run_toml_is_refused(old, new, line, halfway):
    trial = halfway("edited")
    path = trial.folder / "run.toml"
    edited = re.sub(old, new, path.read_text(), count=1)
    path.write_text(edited)
    before = trial.contents()
    assert trial.go(words=[*RESUME.split(), str(trial.folder)]) == 4
    what, where, *rest = trial.errors()
    assert what == "error[4] run.toml differs from the settings in step-000005"
    assert line in "\n".join([where, *rest])
    assert rest[-1] == f"next: {way_back(trial)}"
    assert trial.contents() == before


def test_a_damaged_path_is_told_where_the_images_still_lie(lab, trials, tmp_path):
    """Moved images may be named in run.toml; a path to nothing beside images that are there is damage."""
    photos = tmp_path / "photos"
    shutil.copytree(lab.folder / "photos", photos)
    trial = trials.half("damaged path", data=str(photos))
    path = trial.folder / "run.toml"
    whole = path.read_text()
    path.write_text(whole.replace(f'"{photos}"', f'"{photos}x"'))
    words = [*RESUME.split(), str(trial.folder)]
    assert trial.go(words=words) == 4, trial.output
    assert f"data: was '{photos}', is '{photos}x' (not found)" in "\n".join(trial.errors())
    photos.rename(f"{photos}x")
    assert trial.go(words=words) == 0, trial.output


@pytest.mark.parametrize("damage", ["half", "text", "bytes", "gone", "folder"])
def test_a_damaged_run_toml_comes_back_from_the_checkpoint(damage, trials, halfway):
    """By the one line that the error gives."""
    trial = halfway(f"damaged toml {damage}")
    path = trial.folder / "run.toml"
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(
            {"half": whole[: len(whole) // 2 - 1], "text": b"not = = toml", "bytes": b"\xff" * 9}[damage]
        )
    words = [*RESUME.split(), str(trial.folder)]
    if damage != "gone":
        assert trial.go(words=words) == 4
        first, *_, last = trial.errors()
        assert first.startswith("error[4] run.toml ")
        assert last == f"next: {way_back(trial)}"
        path.rename(trial.folder / "run.toml.old")
    assert trial.go(words=words) == 0, trial.output
    assert trial.output.count("warning: run.toml was missing: restored from the checkpoint") == 1
    assert path.read_bytes() == whole
    if damage != "gone":
        (trial.folder / "run.toml.old").rename(trial.folder.with_name("old"))
    assert trials.same(trial.result(), trials.expected)


def test_what_does_not_touch_the_result_may_be_edited(trials, halfway):
    trial = halfway("edited free")
    path = trial.folder / "run.toml"
    path.write_text(path.read_text().replace("save_every = 2", "save_every = 1"))
    assert "save_every = 1" in path.read_text()
    assert trial.go(words=[*RESUME.split(), str(trial.folder)]) == 0, trial.output
    result = trial.result()
    assert trials.same(result, trials.expected)


@pytest.mark.parametrize(
    "text", ["", "data = 'demo:32'\n", "record = 1\n", "[record]\ncommand = 3\n", "[record]\ndata = []\n"]
)
def test_of_a_run_of_an_earlier_version_a_damaged_run_toml_is_an_error(text, halfway):
    """Nothing knows better, and nothing is guessed."""
    trial = halfway("earlier damaged")
    forget(trial)
    path = trial.folder / "run.toml"
    whole = path.read_text()
    path.write_text(whole.partition("[record]")[0] + text if "record" in text else text)
    assert trial.go(words=[*RESUME.split(), str(trial.folder)]) == 4, trial.output
    assert trial.errors()[0].startswith("error[4] run.toml is corrupt: ")
    path.unlink()
    assert trial.go(words=[*RESUME.split(), str(trial.folder)]) == 4
    assert "no run to resume" in trial.errors()[0]


def test_a_run_of_another_command_is_named(halfway):
    trial = halfway("another command")
    before = trial.contents()
    assert trial.go(words=["classify", "--resume", "--out", str(trial.folder)]) == 2
    what, next_ = trial.errors()
    assert what.endswith("holds a run of `ssl-seg train`")
    assert next_ == f"next: {shlex.join(['ssl-seg', *RESUME.split(), str(trial.folder)])}"
    assert trial.contents() == before


def test_a_run_of_an_earlier_version_goes_on_with_as_many_images(trials, tmp_path):
    """Its fingerprint is of names, sizes and dates."""
    trial = trials.half("earlier")
    forget(trial)
    path = trial.folder / "run.toml"
    text = re.sub("fingerprint_of = .*\n", "", path.read_text())
    text = re.sub('fingerprint = ".*"', 'fingerprint = "01234"', text)
    path.write_text(text.replace("images = 32", "images = 31"))
    assert trial.go() == 2
    assert trial.errors()[0] == "error[2] the images of 'data' are not those the run was started with"
    path.write_text(text)
    assert trial.go() == 0, trial.output
    assert trial.output.count("whether the images of 'data' are the same is not known") == 1
    assert trial.output.count("whether the images of 'probe' are the same is not known") == 1


# scores.jsonl

GARBAGE = {
    "text": b"not json\n",
    "bytes": b"\xff\xfe{}\n",
    "no step": b'{"epoch": 1, "loss": 1.0}\n',
    "no object": b"[1, 2]\n",
    "step of text": b'{"epoch": 1, "step": "4"}\n',
    "zeros": b"\0" * 512 + b"\n",
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("known", [True, False], ids=["known", "earlier"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_bad_line_of_scores_costs_a_warning(garbage, known, trials, halfway):
    trial = halfway(f"scores {garbage}")
    path = trial.folder / "scores.jsonl"
    damaged = GARBAGE[garbage] + path.read_bytes() + path.read_bytes()  # and a line twice
    path.write_bytes(damaged)
    if not known:
        forget(trial)
    assert trial.go() == 0, trial.output
    (warning,) = (line for line in trial.output.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: scores.jsonl: 1 of 3 lines is corrupt; ")
    assert ("restored from the checkpoint" in warning) == known
    aside = trial.folder / "scores.jsonl.damaged"
    assert aside.read_bytes() == damaged
    aside.unlink()
    assert trials.same(trial.result(), trials.expected)


@pytest.mark.parametrize("damage", ["lost", "folder", "emptied", "first line lost", "edited"])
def test_scores_come_back_from_the_checkpoint(damage, trials, halfway):
    trial = halfway(f"scores {damage}")
    path = trial.folder / "scores.jsonl"
    whole = path.read_text()
    path.unlink()
    if damage == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("precious")
    elif damage != "lost":
        path.write_text(
            {"emptied": "", "first line lost": "}\n", "edited": whole.replace("loss", "lust")}[damage]
        )
    assert trial.go() == 0, trial.output
    for aside in trial.folder.glob("scores.jsonl.damaged"):
        assert damage in ("folder", "first line lost")
        if damage == "folder":
            assert (aside / "mine.txt").read_text() == "precious"
        aside.rename(trial.folder.with_name("aside"))
    assert trials.same(trial.result(), trials.expected)


# What ends before its first step leaves the run as it was


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_refused_resume_leaves_the_run_as_it_was(state, trials, halfway, tmp_path):
    trial = halfway(f"refused {state}")
    if state == "finished":
        assert trial.go() == 0
    before, resume = trial.contents(), [*RESUME.split(), str(trial.folder)]
    for words, code in (
        ([*resume, "--epochs", "1"], 2),
        ([*resume, "--lr", "0.9"], 2),
        ([*resume, "--track", "no-such-tracker"], 2),
        (["train", "demo:64", *resume[1:]], 2),
        (["train", str(tmp_path / "nowhere"), *resume[1:]], 3),
        (["classify", *resume[1:]], 2),
        (["train", *resume[3:]], 4),
        (trial.words(), 9),
        ([*trial.words(), "--resume", "--precision", "bf16"], 2),
    ):
        assert trial.go(words=words) == code, (words, trial.output)
        trial.errors()
        assert trial.contents() == before, words
    assert "flags differ from those of the run being resumed" in (trial.folder / "run.log").read_text()
    assert trial.status()["state"] == state
    assert trial.go() == 0
    assert trials.same(trial.result(), trials.expected)


def test_a_signal_before_the_first_step_leaves_the_run_as_it_was(trials, halfway):
    trial = halfway("before the first step")
    before = trial.contents()
    shutil.rmtree(trial.cache)
    assert trial.go(traps=[("while images are read", 1, signal.SIGTERM)]) == 143
    assert trial.contents() == before
    assert trial.go() == 0
    assert trials.same(trial.result(), trials.expected)


def test_a_resumed_run_is_running(trials, halfway):
    trial = halfway("running")
    assert trial.status()["state"] == "stopped"
    assert trial.go(traps=[("before the target moves", 1, signal.SIGKILL)]) == -signal.SIGKILL
    assert trial.status() == {"state": "running", "step": 5, "code": None, "checkpoint": "step-000005"}
    assert trial.go() == 0
    assert trials.same(trial.result(), trials.expected)
