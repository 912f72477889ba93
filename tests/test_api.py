"""The commands as Python functions: `ssl_seg.train(...)` and its kin."""

import inspect
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import ssl_seg
from ssl_seg.errors import DataError, OutputInUseError, SslSegError, Stopped, UsageError
from ssl_seg.utils.toml import read_json

SMALL = {"backbone": "test_resnet", "image_size": 32, "epochs": 1, "batch_size": 8, "cpu": True}
FUNCTIONS = ("train", "classify", "segment", "evaluate", "predict", "embed", "export", "report")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_way_with_texts_and_paths(folder, capfd):
    run = ssl_seg.train("demo:24", ssl="byol", out="first", option=["ssl.decay=0.9"], progress=False, **SMALL)
    assert run.folder == Path("first") and [line["epoch"] for line in run.scores] == [1]
    assert "hidden = 1024" in Path("first/run.toml").read_text()
    assert 'decay = "0.9"' in Path("first/run.toml").read_text()
    maps = run.backbone(torch.zeros(1, 3, 32, 32))
    assert [m.shape[1] for m in maps] == list(run.backbone.channels)
    assert run.result == {} and f"loss={run.scores[-1]['loss']:.4g}" in repr(run)

    rest = {"epochs": 1, "batch_size": 8, "cpu": True, "progress": False, "allow_overlap": True}
    fine = ssl_seg.classify("demo:24", val="demo:16", init=run.folder, out=folder / "fine", **rest)
    assert fine.model(torch.zeros(2, 3, 32, 32)).shape == (2, 8)
    numbers = ssl_seg.evaluate(fine.folder, "demo:16", cpu=True, progress=False)
    assert numbers["top1"] == fine.result["last"]["top1"] and numbers["images"] == 16

    said = ssl_seg.predict(fine.folder, "demo:16", "labels.csv", cpu=True, progress=False)
    assert said.count == 16 == len(said.path.read_text().splitlines()) - 1
    found = ssl_seg.embed(run.folder, "demo:16", folder / "features.npz", cpu=True, progress=False)
    assert found.features.shape == (16, run.backbone.channels[-1]) and len(found.classes) == 8
    assert (np.load("features.npz")["features"] == found.features).all()

    pixels = {**rest, "batch_size": 4, "image_size": 32, "backbone": "test_resnet", "head": "fcn32s"}
    pixels["option"] = ["head.width=16"]
    masks = ssl_seg.segment("demo_masks:4", val="demo_masks:4", out="masks", **pixels)
    assert 0 <= masks.result["last"]["miou"] <= 1 and masks.model(torch.zeros(1, 3, 32, 32)).shape[1] == 9

    made = ssl_seg.export(fine.folder, "timm", "as-timm", progress=False)
    assert made.includes_head and made.max_difference < 1e-5 and (made.path / "config.json").exists()
    page = ssl_seg.report([run.folder, fine.folder, masks.folder], out="r.html")
    assert page == Path("r.html") and "first" in page.read_text()
    out, err = capfd.readouterr()
    assert out == ""
    assert all(line.startswith("warning: ") for line in err.splitlines()), err


def test_progress_is_shown_and_nothing_else(folder, capfd):
    ssl_seg.train("demo:24", out="a", **SMALL)
    out, err = capfd.readouterr()
    assert out == "" and "training: 3/3" in err
    assert all(line.startswith(("training: ", "warning: ")) for line in err.splitlines()), err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 1}, "batch_size: a number from 2 to"),
        ({"epochs": "many"}, "epochs: .*integer"),
        ({"schedule": "zigzag"}, "schedule: .*cosine"),
        ({"option": ["ssl.decai=1"]}, "decai"),
        ({"ssl": "boyl"}, "byol"),
    ],
)
def test_values_are_checked_as_in_a_shell(folder, wrong, message):
    with pytest.raises(UsageError, match=message):
        ssl_seg.train("demo:24", out="a", **{**SMALL, **wrong})


def test_errors_are_those_of_the_library(folder):
    with pytest.raises(TypeError, match="epoch"):
        ssl_seg.train("demo:24", epoch=3)
    with pytest.raises(DataError, match="nowhere"):
        ssl_seg.train("nowhere", out="a", **SMALL)
    (folder / "full").mkdir()
    (folder / "full/x").touch()
    with pytest.raises(OutputInUseError):
        ssl_seg.train("demo:24", out="full", **SMALL)
    for name in FUNCTIONS:
        assert issubclass(SslSegError, Exception) and callable(getattr(ssl_seg, name))


def test_a_file_of_settings_and_resuming_work_as_in_a_shell(folder):
    (folder / "s.toml").write_text("epochs = 2\nbackbone = 'test_resnet'\n[o.ssl]\ndecay = 0.5\n")
    settings = {key: value for key, value in SMALL.items() if key not in ("epochs", "backbone")}
    run = ssl_seg.train("demo:24", config="s.toml", out="a", progress=False, **settings)
    assert len(run.scores) == 2
    again = ssl_seg.train(resume=True, out="a", progress=False)
    assert again.scores == run.scores
    with pytest.raises(UsageError, match="flags differ from those"):
        ssl_seg.train(resume=True, out="a", lr=0.5, progress=False)


INTERRUPT = """
import os, signal
from ssl_seg.hooks import hookimpl

@hookimpl
def epoch_end(run, epoch, scores):
    if epoch == 1:
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_saves_and_raises_and_leaves_no_handler(folder, package):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    package("interrupting", INTERRUPT)
    settings = {**SMALL, "epochs": 3}
    with pytest.raises(Stopped) as stopped:
        ssl_seg.train("demo:24", out="a", progress=False, **settings)
    assert stopped.value.code == 130
    assert read_json(Path("a/status.json"))["state"] == "stopped"
    run = ssl_seg.train(resume=True, out="a", progress=False)
    assert [line["epoch"] for line in run.scores] == [1, 2, 3]
    assert {number: signal.getsignal(number) for number in before} == before


def test_it_may_be_called_in_a_thread(folder):
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ssl_seg.train, "demo:24", out="a", progress=False, **SMALL).result(timeout=300)
    assert run.scores


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_says_its_parameters_and_what_it_returns(name):
    function = getattr(ssl_seg, name)
    signature = inspect.signature(function)
    assert "progress" in signature.parameters or name == "report"
    assert signature.return_annotation is not None and (function.__doc__ or "").strip()


def test_nothing_of_the_process_is_changed(folder):
    import logging
    import warnings

    def state():
        log = logging.getLogger("ssl_seg")
        return os.getcwd(), dict(os.environ), list(log.handlers), log.propagate, list(warnings.filters)

    before = state()
    ssl_seg.train("demo:24", out="a", progress=False, **SMALL)
    assert state() == before
