"""Whole commands in two processes: the same run as in one, whoever is killed on the way."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from ssl_seg.utils.toml import read_toml

FAST = 10.0  # seconds in which a death must end the others


def tensors(run, step=8):
    folder = run / "checkpoints" / f"step-{step:06d}"
    return {
        (name, key): tensor
        for name in ("model", "optimizer")
        for key, tensor in load_file(folder / f"{name}.safetensors").items()
        if not key.startswith("rng")
    }


def scores(run):
    lines = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("seconds") > 0 and line.pop("images_per_second") > 0
        line.pop("energy_wh", None)  # where the machine tells
    return lines


def files(run):
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def equal(one, two):
    """Bit for bit."""
    here, there = tensors(one), tensors(two)
    assert here.keys() == there.keys()
    assert [key for key in here if not torch.equal(here[key], there[key])] == []
    assert scores(one) == scores(two)


def close(one, two):
    """What float32 rounds in some steps of SGD."""
    here, there = tensors(one), tensors(two)
    for key in here:
        assert torch.allclose(there[key], here[key], rtol=2e-4, atol=2e-5), key
    for line, other in zip(scores(one), scores(two), strict=True):
        assert other == pytest.approx(line, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def whole(worlds, training, tmp_path_factory):
    """An undisturbed run of one process, and of two, with a probe."""
    runs = {}
    for ranks in (1, 2):
        runs[ranks] = tmp_path_factory.mktemp("whole") / "run"
        worlds.go(training(runs[ranks], "--probe", "demo:24"), ranks)
    return runs


def test_two_processes_make_the_run_of_one(whole):
    one, two = whole[1], whole[2]
    close(one, two)
    assert files(one) == files(two), "others than the main process have written"
    assert [line["probe_knn"] for line in scores(one)] == [line["probe_knn"] for line in scores(two)]
    settings = {ranks: read_toml(run / "run.toml") for ranks, run in whole.items()}
    assert "2 processes" in settings[2]["record"].pop("device")
    assert "processes" not in settings[1]["record"].pop("device")
    assert settings[1] == settings[2]
    assert json.loads((two / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_other_and_the_run_goes_on(worlds, training, whole, tmp_path, rank, tiny):
    run = tmp_path / "run"
    words = training(run, "--probe", "demo:24", "-o", "backbone.dropout=0.0")
    world = worlds.start(words, FAULT=f"{rank}:11:SIGKILL")  # in step 6 of 8
    world.wait(rank, 1 - rank)
    assert world.codes[rank] == -signal.SIGKILL
    assert world.codes[1 - rank] == 8, world.outputs
    assert world.seconds[1] - world.seconds[0] < FAST
    said = world.outputs[1 - rank]
    assert f"error[8] process {rank} exited unexpectedly" in said and "Traceback" not in said
    assert f"kept: {run / 'checkpoints' / 'step-000004'}" in said
    assert f"next: ssl-seg train --backbone {tiny} --resume --out {run}" in said
    again = worlds.go(["train", "--backbone", tiny, "--resume", "--out", run])
    assert again.outputs[1] == ""
    equal(whole[2], run)


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(worlds, training, whole, tmp_path, tiny):
    run = tmp_path / "run"
    world = worlds.start(training(run, "--probe", "demo:24"), FAULT="1:11:SIGTERM").wait()
    assert world.codes == [143, 143], world.outputs
    assert "error[143] stopped by signal 15" in world.outputs[0] and world.outputs[1] == ""
    steps = [path.name for path in run.glob("checkpoints/*")]
    assert sorted(steps) == ["step-000006", "step-000007"], (
        "the signal of one saves once for all, a step later"
    )
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    said = worlds.go(["train", "--backbone", tiny, "--resume", "--out", run], 1).outputs[0]
    assert "not bit-exact: device was" in said
    close(whole[1], run)


@pytest.mark.slow
def test_random_numbers_of_a_process_come_back_with_a_run(worlds, training, tmp_path, tiny):
    """Dropout is drawn apart in every process, and a resumed run draws what it would have drawn."""
    runs = [tmp_path / name for name in ("whole", "stopped")]
    flags = ["-o", "backbone.dropout=0.5"]
    worlds.go(training(runs[0], *flags))
    world = worlds.start(training(runs[1], *flags), FAULT="0:6:SIGTERM").wait()
    assert world.codes == [143, 143], world.outputs
    worlds.go(["train", "--backbone", tiny, "--resume", "--out", runs[1]])
    equal(*runs)


def test_the_cause_of_a_failure_is_told_once(worlds, training, tmp_path):
    run = tmp_path / "run"
    world = worlds.start(training(run), FAULT="1:5:raise").wait(1, 0)
    assert world.codes == [8, 7], "the network is in a file of its own"
    assert world.seconds[1] - world.seconds[0] < FAST
    told = [line for line in world.outputs[0].splitlines() if line.startswith("error[8] process 1 failed: ")]
    assert len(told) == 1 and told[0].endswith("tiny.py failed: KeyError: 'a bug in process 1 alone'")
    assert world.outputs[1] == ""
    assert json.loads((run / "status.json").read_text())["code"] == 8


@pytest.mark.slow
def test_a_frozen_process_is_given_up(worlds, training, tmp_path):
    world = worlds.start(training(tmp_path / "run"), FAULT="1:5:SIGSTOP", SSL_SEG_TIMEOUT="6")
    try:
        world.wait(0)
        assert world.codes == [8], world.outputs
        assert "error[8] process 1 is unresponsive: no answer for 6 s" in world.outputs[0]
    finally:
        world.kill(1)
        world.wait(1)


def test_a_main_process_that_is_frozen_after_a_checkpoint_is_given_up(worlds, training, tiny, tmp_path):
    """The checkpoint is whole, and written by a thread while the other process trains."""
    run = tmp_path / "run"
    world = worlds.start(training(run), FAULT="0:saved:SIGSTOP", SSL_SEG_TIMEOUT="3")
    try:
        world.wait(1)
        assert world.codes == [8], world.outputs
        assert "error[8] process 0 is unresponsive: no answer for 3 s" in world.outputs[1]
        assert f"kept: {run}/checkpoints/step-000002" in world.outputs[1]
    finally:
        world.kill(0)
        world.wait(0)
    worlds.go(["train", "--backbone", tiny, "--resume", "--out", run])


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (
            ["train", "demo:32", "--batch-size", "9"],
            2,
            "batch size 9 is not divisible into 1 micro-batches for each",
        ),
        (["train", "demo:32", "--batch-size", "64"], 2, "fewer images (32) than the batch size (64"),
        (["train", "demo:32", "--ssl", "bylo"], 2, "bylo"),
        (["train", "/nowhere"], 3, "no such file or folder"),
    ],
)
def test_a_mistake_is_told_once(worlds, tmp_path, words, code, text):
    common = ["--cpu", "--image-size", "16", "--backbone", "test_resnet", "--out", tmp_path / "run"]
    world = worlds.start([*words, *common]).wait()
    assert world.codes == [code, code], world.outputs
    assert text in world.outputs[0] and world.outputs[0].count("error[") == 1
    assert world.outputs[1] == ""
    assert not (tmp_path / "run" / "run.toml").exists()


def test_a_folder_in_use_ends_all(worlds, training, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    world = worlds.start(training(tmp_path / "run")).wait()
    assert world.codes == [9, 8], world.outputs
    assert "error[9]" in world.outputs[0] and world.outputs[1] == ""


@pytest.mark.parametrize(
    ("flags", "name", "mine", "other"),
    [
        (["--seed", "RANK"], "seed", "0", "1"),
        (["-o", "backbone.dropout=0.RANK"], "o.backbone.dropout", "'0.0'", "'0.1'"),
        (["--probe", "demo:1RANK"], "probe", "'demo:10'", "'demo:11'"),
    ],
)
def test_processes_that_were_told_different_things(worlds, training, tmp_path, flags, name, mine, other):
    """A command line for each: what differs is named before the first step."""
    words = [str(word) for word in training(tmp_path / "run", *flags)]
    file = tmp_path / "start.py"
    file.write_text(
        f"import os, sys\nfrom pathlib import Path\nrank = os.environ['RANK']\n"
        f"sys.argv = ['ssl-seg', *[word.replace('RANK', rank) for word in {words!r}]]\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "from ssl_seg.cli import main\nmain()\n"
    )
    world = worlds.start([], file=str(file)).wait()
    assert world.codes == [2, 2], world.outputs
    said = world.outputs[0]
    assert f"error[2] {name} differs between the 2 processes\n" in said
    assert f"where: process 0: {mine}" in said and f", process 1: {other}" in said
    assert said.count("error[") == 1 and world.outputs[1] == ""
    assert not (tmp_path / "run" / "run.toml").exists()


@pytest.mark.slow
def test_another_machine_with_other_images_is_refused(worlds, training, tmp_path):
    """A folder of one name with other images in it, and a cache of its own."""
    words = [str(word) for word in training(tmp_path / "run")]
    words[1] = str(tmp_path / "photos")
    pictures(tmp_path)
    file = tmp_path / "start.py"
    file.write_text(
        f"import os, sys\nrank = os.environ['RANK']\nsys.argv = ['ssl-seg', *{words!r}]\n"
        f"os.environ['SSL_SEG_CACHE'] = {str(tmp_path)!r} + '/cache' + rank\n"
        "import ssl_seg.data.files as files\nreal = files.content_digest\n"
        "files.content_digest = lambda path: real(path) + rank\n"
        "from ssl_seg.cli import main\nmain()\n"
    )
    world = worlds.start([], file=str(file)).wait()
    assert world.codes == [8, 3], world.outputs
    assert (
        "process 1 failed: the images of this process are not those of the main process" in world.outputs[0]
    )
    assert world.outputs[1] == "" and not (tmp_path / "run" / "run.toml").exists()


def pictures(folder):
    from PIL import Image

    (folder / "photos").mkdir()
    for index in range(32):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(folder / "photos" / f"{index}.png")


def test_work_for_one_process_is_refused(worlds):
    for words in (["predict", "a", "b"], ["study", "a.toml"], ["figure", "curves", "a"], ["report", "a"]):
        world = worlds.start([*words, "--out", "c"] if words[0] == "predict" else words).wait()
        assert world.codes == [2, 2], world.outputs
        said = world.outputs[0]
        assert f"`{words[0]}` runs in a single process, but 2 were started" in said
        assert "train, classify, segment" in said


def test_srun_is_understood_and_each_image_is_read_once(worlds, training, tmp_path):
    """Two processes as `srun` starts them find each other; one reads the images, the other waits."""
    log, module = tmp_path / "read.txt", tmp_path / "counted.py"
    module.write_text(
        "from ssl_seg.datasets.demo import DemoDataset\n\n\nclass Counted(DemoDataset):\n"
        "    def __init__(self, root, split):\n        super().__init__(split, int(root))\n\n"
        "    def image(self, index, canvas):\n"
        f"        with open({str(log)!r}, 'a') as file:\n"
        "            file.write(f'{index}\\n')\n"
        "        return super().image(index, canvas)\n"
    )
    words = training(tmp_path / "run", "--canvas", "32", "--cache", tmp_path / "cache", steps=4)
    words[1] = f"{module}:Counted=32"
    worlds.go(words, slurm=True)
    assert sorted(map(int, log.read_text().split())) == list(range(32))
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


@pytest.mark.slow
def test_classification_and_segmentation(worlds, tmp_path, tiny):
    """Numbers on validation images, confusion and predictions are those of one process, file by file."""
    common = (
        f"--cpu --backbone {tiny} --image-size 16 --batch-size 8 --epochs 2 --precision fp32 --optimizer sgd"
    )
    commands = {
        "classify": f"classify demo:40 --val demo:21 {common} --lr 0.05 --mixup 0.2",
        "frozen": f"classify demo:40 --val demo:21 {common} --lr 0.05 --freeze",
        "segment": f"segment demo:16 --val demo:9 {common.replace('16', '32')} --lr 0.01 --loss ce+dice -o head.width=8 "
        "-o head.dropout=0 --watch 00001,00008 --watch-epochs 2",
    }
    for name, words in commands.items():
        runs = [tmp_path / f"{name}-{ranks}" for ranks in (1, 2)]
        for ranks, run in zip((1, 2), runs, strict=True):
            worlds.go([*words.split(), "--out", run], ranks)
        assert files(runs[0]) == files(runs[1])
        one, two = (json.loads((run / "result.json").read_text()) for run in runs)
        for part in ("last", "best"):
            assert two[part] == pytest.approx(one[part], rel=1e-4, abs=1e-6), name
        confusions = [(run / "confusion.csv").read_text() for run in runs]
        assert confusions[0] == confusions[1], name
    for path in sorted((tmp_path / "segment-1" / "masks").rglob("*.png")):
        there = tmp_path / "segment-2" / path.relative_to(tmp_path / "segment-1")
        assert there.read_bytes() == path.read_bytes(), path
