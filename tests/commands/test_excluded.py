"""A class that is excluded is predicted nowhere, however loudly its untrained logit speaks."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_seg
from ssl_seg import load
from ssl_seg.data.palettes import BUILT_IN_PALETTES

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
COLOURS = BUILT_IN_PALETTES["deepglobe"].array
LOUD = """
import torch
from torch import nn
from ssl_seg.base import Head

class Loud(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.net = nn.Conv2d(channels[-1], classes, 1)
        with torch.no_grad():
            self.net.bias[-1] = 1000.0

    def forward(self, features, size):
        return nn.functional.interpolate(self.net(features[-1]), size)
"""


@pytest.fixture
def tiles(tmp_path):
    """Tiles of all seven classes of the course; `unknown` is the last one."""
    for index in range(6):
        random = np.random.default_rng(index)
        classes = random.integers(0, 7, (4, 4)).repeat(10, 0).repeat(10, 1)
        folder = tmp_path / ("train" if index < 4 else "val")
        folder.mkdir(exist_ok=True)
        picture = COLOURS[classes] // 2 + random.integers(0, 60, (40, 40, 3))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index}_sat.png")
        Image.fromarray(COLOURS[classes]).save(folder / f"{index}_mask.png")
    return tmp_path


def test_nowhere_is_an_excluded_class_predicted(cli, tiles):
    (tiles / "loud.py").write_text(LOUD)
    out, val = tiles / "run", tiles / "val"
    backbone, head = f"{TINY}:TinyBackbone", f"{tiles / 'loud.py'}:Loud"
    words = ("--backbone", backbone, "--head", head)
    more = ("--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu", "--out", out)
    code, _, err = cli("segment", tiles / "train", "--val", val, *words, "--watch", "4,5", *more)
    assert code == 0, err
    with np.load(out / "val_confusions.npz") as file:
        confusions = file["confusions"]
    assert not confusions[:, :, 6].any() and confusions[:, 6].any(), "its pixels are there, it is not said"
    assert json.loads((out / "result.json").read_text())["last"]["miou"] > 0

    code, _, err = cli(
        "predict", out, val, "--out", tiles / "said", *words, "--cpu", "--flips", "--tile", 32, "--overlap", 4
    )
    assert code == 0, err
    kept = [*(out / "masks" / "epoch-0001").iterdir(), *(tiles / "said").glob("*.png")]
    assert len(kept) == 4
    assert not any((np.asarray(Image.open(path)) == COLOURS[6]).all(-1).any() for path in kept)

    model, metadata = load(out, backbone=backbone, head=head)
    assert metadata["exclude"] == ["unknown"]
    with torch.no_grad():
        logits = model(torch.randn(2, 3, 40, 40))
    assert (logits[:, 6] == -torch.inf).all() and torch.isfinite(logits[:, :6]).all()


def test_a_class_that_is_not_in_the_mean_can_still_be_learnt(cli, tiles):
    """`--exclude ""` trains all classes, `metric.exclude` alone leaves one out of the mean."""
    out = tiles / "run"
    words = ("--backbone", f"{TINY}:TinyBackbone", "--head", "fcn32s", "-o", "head.width=8", "--exclude", "")
    more = ("--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu", "--out", out)
    code, _, err = cli(
        "segment", tiles / "train", "--val", tiles / "val", *words, "-o", "metric.exclude=unknown", *more
    )
    assert code == 0, err
    assert load(out, backbone=words[1])[1]["exclude"] == []
    last = json.loads((out / "result.json").read_text())["last"]
    assert "iou/unknown" not in last and "miou" in last


def test_the_head_is_asked_through_the_model_alone():
    """Whoever calls a segmentation model's head past `Model.forward` must mask what it says himself."""
    root = Path(ssl_seg.__file__).parent
    callers = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            asks = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("model.head", "self.head"))
            if asks and path.parent.name != "methods":  # a method's head has no classes
                callers.append(path.relative_to(root).as_posix())
    assert callers == ["base.py", "tasks/classification.py", "tasks/segmentation.py"]
