"""Equal runs are equal files, and a damaged weight file is refused with the way out."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ssl_seg.weights.backbone_file import read_metadata
from ssl_seg.weights.header import _RULES

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SHORT = ["--image-size", "16", "--batch-size", "8", "--epochs", "2", "--cpu", "--seed", "3"]
NET = ["--backbone", f"{TINY}:TinyBackbone"]  # code is named anew for every command
ON_TINY = [*NET, *SHORT]
RUNS = {
    "train": ["train", "demo:16", "--probe", "demo:16", *ON_TINY],
    "classify": ["classify", "demo:24", "--val", "demo:16", *ON_TINY],
    "segment": ["segment", "demo_masks:8", "--val", "demo_masks:8", "--head", "smp:fpn", "--watch", "00000"],
}
RUNS["segment"] += ["--backbone", "test_resnet", *SHORT, "--image-size", "32"]
# how long it took, when, and by what memory: what differs between two equal runs
TIMES = {"run.log", "scores.jsonl", ".lock"}
IN_CHECKPOINTS = {"state.json", "manifest.json"}  # the meter's seconds, and the sum of the file with them


def run_elsewhere(words, out, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ssl_seg",
            *words,
            "--out",
            str(out),
            "--cache",
            str(tmp_path / f"cache-{out.name}"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def results(folder):
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        timed = "checkpoints/" in name and path.name in IN_CHECKPOINTS
        if path.name not in TIMES and not timed:
            found[name] = path.read_bytes().replace(str(folder).encode(), b"RUN")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS)
def test_equal_runs_in_two_processes_are_equal_bytes(command, tmp_path):
    for name in ("a", "b"):
        run_elsewhere(RUNS[command], tmp_path / name, tmp_path)
    one, two = results(tmp_path / "a"), results(tmp_path / "b")
    assert one.keys() == two.keys() and "backbone.safetensors" in one
    different = [name for name in one if one[name].replace(b"cache-a", b"cache-b") != two[name]]
    assert different == []
    if command == "classify":
        assert {
            "model.safetensors",
            "best.safetensors",
            "features/epoch-0001.npz",
            "result.json",
        } <= one.keys()


@pytest.fixture
def run(cli, tmp_path):
    def go(*words, out):
        code, _, err = cli(*words, "--out", tmp_path / out)
        assert code == 0, err
        return tmp_path / out

    return go


def test_equal_exports_are_equal_bytes(run, cli, tmp_path):
    words = ["demo:24", "--val", "demo:16", "--backbone", "resnet18", *SHORT, "--epochs", "1"]
    trained = run("classify", *words, out="run")
    for to, name in (("timm", "t"), ("hub", "h"), ("torchvision", "w.pth"), ("torchvision", "w.safetensors")):
        places = [tmp_path / turn / name for turn in ("1", "2")]
        for place in places:
            place.parent.mkdir(exist_ok=True)
            code, _, err = cli("export", trained, "--to", to, "--out", place)
            assert code == 0, err
        if places[0].is_dir():
            one, two = map(results, places)
        else:
            one, two = ({"": place.read_bytes()} for place in places)
        assert one == two, (to, name)


def test_every_value_that_a_run_writes_has_a_rule(run):
    for command, words in RUNS.items():
        for path in run(*words, out=command).glob("*.safetensors"):
            assert set(read_metadata(path)) <= set(_RULES), path


def flip(path, place=-5):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_a_damaged_file_of_a_run_is_refused_and_written_again(run, cli, tmp_path):
    out = run(*RUNS["classify"], out="run")
    whole = results(out)
    users = {
        "model.safetensors": ["evaluate", out, "demo:16", *NET, "--cpu"],
        "best.safetensors": [
            "predict",
            out,
            "demo:16",
            "--which",
            "best",
            "--out",
            tmp_path / "p.csv",
            "--cpu",
            *NET,
        ],
        "backbone.safetensors": ["classify", "demo:16", "--init", out, *ON_TINY, "--out", tmp_path / "other"],
    }
    for name, words in users.items():
        before = (out / name).read_bytes()
        for place in (-5, 300):
            flip(out / name, place)
            code, _, err = cli(*words)
            assert code == 4 and "cannot read weights: file is corrupt or truncated" in err, (name, err)
            assert str(out / name) in err and "kept: " in err and "step-000006" in err
            way = "--which last" if name == "best.safetensors" else f"ssl-seg classify --resume --out {out}"
            assert f"next: {way}" in err
            if name == "best.safetensors":
                (out / name).write_bytes(before)
                continue
            code, _, err = cli("classify", *NET, "--resume", "--out", out)
            assert code == 0, err
            assert (out / name).read_bytes() == before
    assert results(out) == whole
    flip(out / "model.safetensors")
    flip(next(out.glob("checkpoints/step-000006/model.safetensors")))
    for older in out.glob("checkpoints/step-00000[0-5]/model.safetensors"):
        flip(older)
    code, _, err = cli("evaluate", out, "demo:16", *NET, "--cpu")
    assert code == 4 and "no valid checkpoint" in err and "kept: " not in err


def test_a_damaged_export_is_refused(run, cli, tmp_path):
    out = run(*RUNS["classify"], out="run")
    hub = run("export", out, "--to", "hub", *NET, out="hub")
    flip(hub / "model.safetensors")
    code, _, err = cli("predict", hub, "demo:16", *NET, "--out", tmp_path / "p.csv", "--cpu")
    assert code == 4 and str(hub / "model.safetensors") in err and "next: get the file again" in err


def test_a_file_without_a_digest_is_used_as_before(run, cli):
    """As version 0.1.0 wrote it."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    out = run(*RUNS["classify"], out="run")
    code, before, _ = cli("evaluate", out, "demo:16", *NET, "--cpu")
    assert code == 0
    path = out / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        header = {key: text for key, text in file.metadata().items() if key in ("format", "about")}
    save_file(load_file(path), path, metadata=header)
    code, after, _ = cli("evaluate", out, "demo:16", *NET, "--cpu")
    assert code == 0 and after == before
