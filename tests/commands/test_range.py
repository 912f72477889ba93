"""`-o data.range=LOW,HIGH`: doubted where it is missing, and kept with the model."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_seg.weights.backbone_file import read_metadata
from ssl_seg.workflows.inference import InferenceSession

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
NET = ["--backbone", f"{TINY}:TinyBackbone"]  # code is named anew for every command
QUICK = [*NET, "--image-size", 16, "--batch-size", 4, "--epochs", 1, "--cpu"]


@pytest.fixture
def plates(tmp_path):
    """12-bit PNGs in 16 bits: `train/` and `val/` with two classes each."""
    random = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / "plates" / ("train" if index < 8 else "val") / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 4095, (12, 12)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "plates"


def test_unused_bits_are_warned_of_with_the_flag(plates, cli, tmp_path):
    words = ["classify", plates, "--val", plates, *QUICK, "--out", tmp_path / "r"]
    code, _, err = cli(*words)
    assert code == 0
    lines = [line for line in err.splitlines() if "data.range=0,4095" in line]
    assert len(lines) == 2 and all(line.startswith(f"warning: {plates}: ") for line in lines)
    assert "data.range=0,4095" in (tmp_path / "r" / "run.log").read_text()


def test_a_range_holds_for_all_images_and_later_for_what_the_model_sees(plates, cli, tmp_path):
    out, stated = tmp_path / "r", ("-o", "data.range=0,4095")
    code, _, err = cli("classify", plates, "--val", plates, *QUICK, *stated, "--out", out)
    assert code == 0 and "warning" not in err
    assert tomllib.loads((out / "run.toml").read_text())["o"]["data"]["range"] == "0,4095"
    assert read_metadata(out / "model.safetensors")["range"] == [0, 4095]
    assert read_metadata(out / "backbone.safetensors")["range"] == [0, 4095]
    for run in (out, out / "backbone.safetensors"):
        how = {"precision": "fp32", "device": "cpu", "cache": None, "bad_images": "stop"}
        with InferenceSession(str(run), "last", NET[1], None, None, {}, **how) as session:
            assert session.dataset(str(plates)).levels.range == (0, 4095)
            assert session.dataset("demo:4")  # a format without a range has none
            session.options["data"] = {"range": "0,8000"}
            assert session.dataset(str(plates)).levels.range == (0, 8000)
    for words in (["evaluate", out, plates], ["predict", out, plates, "--out", tmp_path / "p.csv"]):
        code, _, err = cli(*words, *NET, "--cpu")
        assert code == 0 and "warning" not in err


def test_a_range_holds_for_the_probe_too(plates, cli, tmp_path):
    words = ["train", plates / "train", "--ssl", "simsiam", *QUICK, "--probe", plates]
    code, _, err = cli(*words, "-o", "data.range=0,4095", "--out", tmp_path / "r", "--on-collapse", "ignore")
    assert code == 0 and "data.range" not in err
    assert read_metadata(tmp_path / "r" / "backbone.safetensors")["range"] == [0, 4095]


def test_a_run_of_an_unstated_range_says_none(plates, cli, tmp_path):
    cli("classify", plates, *QUICK, "--out", tmp_path / "r")
    assert "range" not in read_metadata(tmp_path / "r" / "model.safetensors")


@pytest.mark.parametrize("text", ["0", "5,1", "a,b", "1,2,3"])
def test_a_range_that_is_none(plates, cli, tmp_path, text):
    code, _, err = cli("classify", plates, *QUICK, "-o", f"data.range={text}", "--out", tmp_path / "r")
    assert code == 2 and "range" in err
