"""`figure architecture` on named networks, on runs, and on what is left of runs."""

import json
from pathlib import Path

import pytest
import torch

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Model
from ssl_seg.errors import UsageError
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.toml import to_toml
from ssl_seg.weights.backbone_file import save_backbone
from ssl_seg.weights.model_file import save_model
from ssl_seg.workflows.strides import backbone_with_output_stride

TINY = f"{Path(__file__).parents[1] / 'faults' / 'tiny.py'}:TinyBackbone"


PICKY = """
from ssl_seg.testing import TinyBackbone
class Picky(TinyBackbone):
    def forward(self, images):
        raise ValueError("too small")
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def numbers(stem):
    assert stem.with_suffix(".png").stat().st_size > 1000
    assert stem.with_suffix(".svg").read_text().startswith("<?xml")
    return json.loads(stem.with_suffix(".json").read_text())


def test_named_networks_become_one_picture_with_their_numbers(cli, tmp_path):
    words = ("figure", "architecture", f"{TINY}+deeplabv3", "resnet10t+linear", "--image-size", 64)
    code, out, err = cli(*words)
    assert code == 0, err
    found = numbers(tmp_path / "architecture")
    assert found["image_size"] == 64
    tiny, resnet = found["networks"]
    assert (tiny["title"], resnet["title"]) == ("TinyBackbone + deeplabv3", "resnet10t + linear")
    backbone = TimmBackbone("resnet10t")
    assert resnet["parameters"] == sum(p.numel() for p in backbone.parameters()) + 512 * 7 + 7
    assert resnet["head"][-1][0]["shape"] == [7]
    assert tiny["head"][-1][0]["shape"] == [7, 64, 64]
    parts = [*tiny["stages"], *(part for column in tiny["head"] for part in column)]
    assert sum(part["macs"] for part in parts) == tiny["macs"] > 0
    assert out.splitlines()[-3:] == ["architecture.png", "architecture.svg", "architecture.json"]
    assert "resnet10t + linear: 4.926 M parameters" in out


def test_a_head_gets_its_stride_and_the_user_his(cli, tmp_path):
    words = ("figure", "architecture", "resnet10t+deeplabv3", "--image-size", 64, "--out")
    assert cli(*words, tmp_path / "a.png")[0] == 0
    stages = numbers(tmp_path / "a")["networks"][0]["stages"]
    assert [stage["stride"] for stage in stages] == [2, 4, 8, 8, 8]
    assert cli(*words, tmp_path / "b", "-o", "backbone.output_stride=16", "-o", "head.width=8")[0] == 0
    network = numbers(tmp_path / "b")["networks"][0]
    assert [stage["stride"] for stage in network["stages"]] == [2, 4, 8, 16, 16]
    assert network["head"][1][0]["shape"] == [8, 4, 4]
    code, _, err = cli("figure", "architecture", f"{TINY}+deeplabv3", "--image-size", 32)
    assert (code, "has no output stride of 8" in err) == (0, True)


def test_a_named_network_is_the_one_that_segment_trains_at_this_size(cli, tmp_path):
    def rates(name, *words):
        assert cli("figure", "architecture", name, "--out", tmp_path / "drawn", *words)[0] == 0
        return [part["dilation"] for part in numbers(tmp_path / "drawn")["networks"][0]["head"][0]]

    def trained(size):
        first = int(DeepLabV3.options_for([8], size).get("rates", "12").split(",")[0])
        return [1, first, 2 * first, 3 * first, 1]

    network = "resnet10t+deeplabv3"
    assert rates(network, "--image-size", 96) == trained(96) != trained(512)
    assert rates(network) == trained(512)
    assert rates(network, "--image-size", 96, "-o", "head.rates=2,4,5") == [1, 2, 4, 5, 1]
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    atomic_write_text(
        stopped / "run.toml", to_toml({"backbone": "resnet10t", "head": "deeplabv3", "image_size": 96})
    )
    assert rates(stopped) == rates(stopped, "--image-size", 512) == trained(96)


def test_a_backbone_that_cannot_have_the_stride_keeps_its_options():
    tried, lines = [], []
    options = {"a": "1"}

    def build(own):
        tried.append(dict(own))
        if "output_stride" in own:
            raise UsageError("no")
        return "backbone", own

    suited = backbone_with_output_stride
    assert suited(DeepLabV3, options, build, lines.append) == ("backbone", {"a": "1"})
    assert tried == [{"a": "1", "output_stride": "8"}, {"a": "1"}]
    assert options == {"a": "1"}
    assert len(lines) == 1
    assert suited(object, options, build, lines.append) == ("backbone", options)
    assert suited(DeepLabV3, {"stem": "small"}, dict, lines.append) == {"stem": "small"}
    assert len(lines) == 1


@pytest.fixture
def run(tmp_path):
    """A folder with a model file: `run()`; of another head's width: `run(width)`."""

    def make(width=8):
        backbone = TimmBackbone("resnet10t")
        model = Model(backbone, DeepLabV3(backbone.channels, backbone.strides, 2, width=width))
        metadata = {
            "task": "segment",
            "backbone": "resnet10t",
            "options": {},
            "head": "deeplabv3",
            "head_options": {"width": str(width)},
            "classes": ["a", "b"],
            "image_size": 96,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "colours": [[shade, 0, 0] for shade in range(2)],
            "exclude": [],
            "image_suffix": "_sat",
            "mask_suffix": "_mask",
        }
        folder = tmp_path / f"run{width}"
        folder.mkdir()
        save_model(folder / "model.safetensors", model, metadata)
        return folder, model

    return make


def test_a_run_is_drawn_into_its_folder_at_its_size(cli, run):
    folder, model = run()
    code, _, err = cli("figure", "architecture", folder)
    assert code == 0, err
    found = numbers(folder / "figures" / "architecture")
    assert found["image_size"] == 96
    network = found["networks"][0]
    assert network["parameters"] == sum(p.numel() for p in model.parameters())
    assert network["stages"][-1]["stride"] == 32
    assert network["head"][-1][0]["shape"] == [2, 96, 96]
    other, _ = run(16)
    assert cli("figure", "architecture", folder, other, "--out", folder / "both")[0] == 0
    assert [n["head"][1][0]["shape"][0] for n in numbers(folder / "both")["networks"]] == [8, 16]


def test_a_run_without_a_head_is_its_backbone_and_a_stopped_one_its_settings(cli, tmp_path):
    torch.manual_seed(0)
    backbone = TimmBackbone("resnet10t")
    folder = tmp_path / "ssl"
    folder.mkdir()
    metadata = {"backbone": "resnet10t", "options": {}, "image_size": 64}
    save_backbone(folder / "backbone.safetensors", backbone, metadata)
    assert cli("figure", "architecture", folder)[0] == 0
    network = numbers(folder / "figures" / "architecture")["networks"][0]
    assert network["head"] == []
    assert network["parameters"] == sum(p.numel() for p in backbone.parameters())

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    given = {"backbone": "resnet10t", "head": "mlp", "image_size": 48, "o": {"head": {"hidden": "32"}}}
    atomic_write_text(stopped / "run.toml", to_toml(given))
    assert cli("figure", "architecture", stopped, "--classes", 5)[0] == 0
    found = numbers(stopped / "figures" / "architecture")
    assert found["image_size"] == 48
    shapes = [[part["shape"] for part in column] for column in found["networks"][0]["head"]]
    assert shapes == [[[512]], [[32]], [[5]]]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["resnet5+deeplabv3"], 2, "no backbone 'resnet5'"),
        (["resnet10t+deeplab3"], 2, "did you mean 'deeplabv3'"),
        (["runs/none"], 2, "no run 'runs/none'"),
        (["resnet10t+linear", "-o", "head.width=3"], 2, "no option 'width'"),
        (["resnet10t+smp:deeplabv3plus"], 2, "strides: 2, 4, 8, 16, 32"),
        (
            ["picky.py:Picky+linear", "--image-size", 8],
            7,
            "'Picky' of picky.py failed: ValueError: too small",
        ),
        (["empty"], 4, "no weights in the folder"),
        (["resnet10t", "--out", "file/x"], 6, "cannot write"),
    ],
)
def test_what_is_wrong_is_told(cli, tmp_path, words, code, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "picky.py").write_text(PICKY)
    ended, _, err = cli("figure", "architecture", *words)
    assert (ended, told in err) == (code, True), err
    assert not list(tmp_path.glob("*.png"))
