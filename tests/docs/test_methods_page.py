"""The page that helps to choose a method says what methods cost."""

import json
import re
import statistics
from pathlib import Path

import pytest
import torch

from ssl_seg import Device, TimmBackbone
from ssl_seg.augment.views import augment
from ssl_seg.engine.flops import training_flops
from ssl_seg.plugins import load_plugins

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
OF_TEACHER = ("distill",)  # what they cost and bring depends on the teacher
OF_TRANSFORMERS = ("dino", "mae", "simmim")
RESNET, TRANSFORMER = "resnet18", "vit_tiny_patch16_224"


def rows():
    """Method -> its cells."""
    lines = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    named = [(re.fullmatch(r" `(\w+)` ", cells[1]), cells) for cells in lines if len(cells) == 10]
    return {found[1]: [cell.strip() for cell in cells] for found, cells in named if found}


def flops(name, backbone):
    registry = load_plugins().registry
    method = registry.build("ssl", name, TimmBackbone(backbone), options={})
    images = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    views = augment(images, method.views, seed=0, size=64, multiple=method.backbone.side_multiple)
    return training_flops(method, views.with_facts(targets=torch.arange(8) % 3), Device(cpu=True))


def measured(equal="epochs", score="knn"):
    """Method -> its k-NN accuracies on the test part in `benchmarks/methods.jsonl`, one per seed."""
    key = {"data": "pretrain_aerial_labels.csv", "size": 64, "part": "test", "equal": equal, "budget": 10}
    found = {}
    for line in map(json.loads, (PAGE.parents[1] / "benchmarks" / "methods.jsonl").read_text().splitlines()):
        name, *options = line["system"].split()
        own = [f"backbone={TRANSFORMER}"] if name in OF_TRANSFORMERS else []
        own += ["backbone.pool=mean"] if name == "simmim" else []  # its class token is not trained
        if key.items() <= line["key"].items() and options == own:
            found.setdefault(name, []).append(line[score])
    return found


def test_the_page_has_the_accuracies_of_the_benchmark():
    accuracies = {name: f"{statistics.mean(values):.3f}" for name, values in measured().items()}
    own = {name: cells[6] for name, cells in rows().items() if name not in OF_TEACHER}
    assert own == {name: accuracies[name] for name in own}


def test_the_page_has_the_accuracies_at_equal_compute():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    told = re.findall(r"`(\w+)` (0\.\d{3}) \((\d+) epochs\)", text)
    knn, epochs = measured("compute"), measured("compute", "epochs")
    assert len(told) > 3
    for name, accuracy, count in told:
        assert (accuracy, [int(count)]) == (f"{knn[name][0]:.3f}", epochs[name]), name


def test_every_method_is_on_the_page():
    assert set(rows()) == set(load_plugins().registry.names("ssl"))


@pytest.mark.slow
def test_the_page_says_what_methods_cost():
    byol = {backbone: flops("byol", backbone) for backbone in (RESNET, TRANSFORMER)}
    measured = {}
    for name in rows().keys() - set(OF_TEACHER):
        backbone = TRANSFORMER if name in OF_TRANSFORMERS else RESNET
        measured[name] = flops(name, backbone) / byol[backbone]
    told = {name: float(cells[5]) for name, cells in rows().items() if name in measured}
    assert told == pytest.approx(measured, abs=0.006)
