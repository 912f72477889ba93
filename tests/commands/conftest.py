"""Models that have learnt nothing, for what commands do around them; and images."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.base import Model
from ssl_seg.heads.linear import Linear
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.model_file import save_model

PLUGIN = """
from ssl_seg.base import Head
from ssl_seg.hooks import hookimpl
from ssl_seg.testing import TinyBackbone
from torch import nn
from torch.nn.functional import interpolate

class Pixels(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.last = nn.Conv2d(channels[-1], classes, 1)
    def forward(self, features, size):
        return interpolate(self.last(features[-1]), size)

@hookimpl
def heads():
    return {"pixels": Pixels}

@hookimpl
def backbones():
    return {"tiny": TinyBackbone}
"""


@pytest.fixture
def trained(package, tmp_path):
    """Makes the folder of a run that has learnt nothing: `trained("segment")`."""
    package("tiny-parts", PLUGIN)
    import tiny_parts

    def make(task, classes=("meadow", "water")):
        torch.manual_seed(0)
        backbone = TinyBackbone()
        kind, name = (Linear, "linear") if task == "classify" else (tiny_parts.Pixels, "pixels")
        head = kind(backbone.channels, backbone.strides, len(classes))
        metadata = {"task": task, "backbone": "tiny", "options": {}, "head": name, "head_options": {}}
        metadata |= {
            "classes": list(classes),
            "image_size": 16,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "exclude": [],
        }
        colours = [[0, 255, 0], [0, 0, 255], [255, 0, 0], [0, 255, 255]][: len(classes)]
        metadata |= {"colours": colours, "image_suffix": "", "mask_suffix": ""}
        (tmp_path / task).mkdir()
        save_model(tmp_path / task / "model.safetensors", Model(backbone, head), metadata)
        return tmp_path / task

    return make


@pytest.fixture
def pics(tmp_path):
    """`pics/a.png`, `pics/deep/b.png` and `victim/x.png`."""
    for index, name in enumerate(("pics/a.png", "pics/deep/b.png", "victim/x.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 40 * index, np.uint8)).save(tmp_path / name)
    return tmp_path / "pics"
