"""`--early-stop`, `--max-time`, `--max-steps`: runs that end before their last step are finished runs."""

import json

import pytest
from safetensors.torch import load_file

import ssl_seg
from ssl_seg.results.scores import read_scores
from ssl_seg.utils.toml import read_toml

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu"]
SMALL = [*TINY, "--allow-overlap"]
TRAIN = ["train", "demo:40", *TINY]
CLASSIFY = ["classify", "demo:40", "--val", "demo:24", *SMALL]
SEGMENT = ["segment", "demo_masks:16", "--val", "demo_masks:8", *SMALL]


def status(folder):
    return json.loads((folder / "status.json").read_text())


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_score_that_does_not_improve_ends_the_run(cli, tmp_path):
    flags = ["--epochs", 30, "--freeze", "--lr", 0, "--early-stop", "val_top1:2", "--out", tmp_path / "run"]
    code, _, err = cli(*CLASSIFY, *flags)
    assert code == 0, err
    assert "did not improve on" in err and "for 2 measurements" in err
    scores = read_scores(tmp_path / "run")
    assert scores[-1]["epoch"] == 3 == len(scores)
    assert status(tmp_path / "run")["state"] == "finished"
    assert status(tmp_path / "run")["step"] == 15
    assert result(tmp_path / "run")["last"]["epoch"] == 3
    assert (tmp_path / "run" / "features" / "epoch-0003.npz").exists()
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert cli("classify", "--resume", "--out", tmp_path / "run")[0] == 0  # nothing is left to do
    assert len(read_scores(tmp_path / "run")) == 3
    again = load_file(tmp_path / "run" / "model.safetensors")
    assert all((weights[name] == again[name]).all() for name in weights)


def test_watched_masks_of_the_epoch_that_became_the_last_are_kept(cli, tmp_path):
    flags = [
        "--epochs",
        30,
        "--early-stop",
        "val_miou:1",
        "--lr",
        0,
        "--watch",
        "00000",
        "--out",
        tmp_path / "run",
    ]
    code, _, err = cli(*SEGMENT, *flags)
    assert code == 0, err
    values = [line["val_miou"] for line in read_scores(tmp_path / "run")]
    last = next(index + 1 for index in range(1, 30) if values[index] <= max(values[:index]))
    assert last == len(values) == result(tmp_path / "run")["last"]["epoch"] < 15
    kept = {path.name for path in (tmp_path / "run" / "masks").glob("epoch-*")}
    assert kept == {"epoch-0001", f"epoch-{last:04d}"}


def test_max_steps_ends_within_an_epoch_and_its_schedule_ends_there(cli, tmp_path):
    code, _, err = cli(*CLASSIFY, "--epochs", 30, "--max-steps", 7, "--out", tmp_path / "run")
    assert code == 0, err
    scores = read_scores(tmp_path / "run")
    assert [(line["epoch"], line["step"]) for line in scores] == [(1, 5), (2, 7)]
    assert result(tmp_path / "run")["last"]["epoch"] == 2
    assert read_toml(tmp_path / "run" / "run.toml")["max_steps"] == 7
    short = [*CLASSIFY, "--epochs", 30, "--max-steps", 5, "--schedule", "constant", "--warmup", 0]
    whole = [*CLASSIFY, "--epochs", 1, "--schedule", "constant", "--warmup", 0]
    for name, words in (("short", short), ("whole", whole)):
        assert cli(*words, "--out", tmp_path / name)[0] == 0
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("short", "whole"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_the_mean_loss_of_a_part_of_an_epoch_is_over_its_steps(cli, tmp_path):
    common = ["--schedule", "constant", "--warmup", 0, "--lr", 0, "--seed", 3]
    for name, flags in (("one", ["--max-steps", 6]), ("two", ["--max-steps", 7])):
        assert cli(*CLASSIFY, "--epochs", 3, *flags, *common, "--out", tmp_path / name)[0] == 0
    one, two = (read_scores(tmp_path / name)[-1]["loss"] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=0.5)  # a mean over 5 steps would be 2.5 times as small


def test_max_time_ends_the_run_and_more_time_continues_it(cli, tmp_path):
    words = [*TRAIN, "--epochs", 4]
    assert cli(*words, "--out", tmp_path / "whole")[0] == 0
    code, _, err = cli(*words, "--max-time", "0.001s", "--out", tmp_path / "run")
    assert code == 0 and "ended after" in err, err
    assert status(tmp_path / "run")["state"] == "finished"
    steps = status(tmp_path / "run")["step"]
    assert steps < 20
    code, _, err = cli("train", "--resume", "--max-time", "10h", "--out", tmp_path / "run")
    assert code == 0, err
    ours, theirs = (load_file(tmp_path / name / "backbone.safetensors") for name in ("run", "whole"))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--early-stop", "val_top1"], "--early-stop takes METRIC:PATIENCE"),
        (["--early-stop", "val_acc:2"], "no score 'val_acc' to stop by"),
        (["--max-time", "soon"], "--max-time takes a time"),
    ],
)
def test_what_cannot_be_is_refused(cli, tmp_path, flags, says):
    code, _, err = cli(*CLASSIFY, "--epochs", 2, *flags, "--out", tmp_path / "run")
    assert code == 2 and says in err


def test_an_observer_ends_the_run_for_good(package, cli, tmp_path):
    package("patience-zero", OBSERVER)
    words = [*TRAIN, "--epochs", 9]
    code, _, err = cli(*words, "--out", tmp_path / "run")
    assert code == 0 and "an observer returned 'stop'" in err
    assert len(read_scores(tmp_path / "run")) == 2
    assert cli("train", "--resume", "--out", tmp_path / "run")[0] == 0
    assert len(read_scores(tmp_path / "run")) == 2


OBSERVER = """
from ssl_seg.hooks import hookimpl

@hookimpl
def epoch_end(epoch):
    return "stop" if epoch == 2 else None
"""


def test_from_python(tmp_path):
    run = ssl_seg.train(
        "demo:40",
        out=tmp_path / "run",
        backbone="test_resnet",
        image_size=32,
        batch_size=8,
        epochs=5,
        max_steps=6,
        cpu=True,
        progress=False,
    )
    assert run.scores[-1]["step"] == 6


def test_max_steps_says_how_many_epochs_there_are(cli, tmp_path):
    run = tmp_path / "run"
    flags = ["--epochs", 1000, "--max-steps", 9, "--val-every", 1000, "--watch", "00000", "--out", run]
    code, _, err = cli(*SEGMENT, *flags)
    assert code == 0, err
    assert "5 epochs of 2 steps" in err
    masks = {path.name for path in (run / "masks").glob("epoch-*")}
    assert masks == {"epoch-0001", "epoch-0003", "epoch-0005"}
    code, out, err = cli("figure", "masks", run, "--out", tmp_path / "masks")
    assert code == 0
    assert "missing" not in out + err
    assert "  5/5  " in cli("runs", run)[1]
    code, out, err = cli("figure", "curves", run, "--out", tmp_path / "curves")
    assert code == 0
    assert "epochs 2" not in out + err


def test_features_of_a_run_that_max_steps_ends_are_of_its_first_middle_and_last_epoch(cli, tmp_path):
    run = tmp_path / "run"
    code, _, err = cli(*CLASSIFY, "--epochs", 1000, "--max-steps", 21, "--out", run)
    assert code == 0, err
    kept = sorted(path.stem for path in (run / "features").glob("*.npz"))
    assert kept == ["epoch-0001", "epoch-0003", "epoch-0005"]
    code, out, err = cli("figure", "tsne", run, "--out", tmp_path / "tsne")
    assert code == 0, err
    assert "missing" not in out + err


def test_a_run_that_stopped_early_is_not_told_to_be_resumed(cli, tmp_path):
    run = tmp_path / "run"
    stop = ["--freeze", "--lr", 0, "--early-stop", "val_top1:2"]
    assert cli(*CLASSIFY, "--epochs", 30, *stop, "--out", run)[0] == 0
    for kind in ("tsne", "curves"):
        code, out, err = cli("figure", kind, run, "--out", tmp_path / kind)
        assert code == 0, err
        assert "30" not in out + err
