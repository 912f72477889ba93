"""The code of plugins: what is the same in all, and what makes each another one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Broken:
    """A package of one module.

    Attributes:
        name: what is wrong.
        kind: what it is asked for as; `observer` cannot be asked for.
        code: of the module.
        refused: the plugin as a whole cannot be loaded, so `ssl-seg plugins` must say so.
        entry, metadata, raw: of its `dist-info`, if they are what is wrong.
        twice: a second package brings the same name.
    """

    name: str
    kind: str
    code: str
    refused: bool = False
    entry: str = ""
    metadata: str | None = None
    raw: bytes = b""
    twice: bool = False


TOP = """
import torch
from torch import nn
from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.augment.recipes import View
"""
HOOKS = {"ssl": "ssl_methods", "pixels": "heads"}


def brings(kind: str, what: str, code: str = "") -> str:
    """A module whose hook brings something."""
    hook = HOOKS.get(kind, kind)
    return f"{TOP}\n{code}\n@hookimpl\ndef {hook}():\n    return {what}\n"


def backbone(body: str) -> str:
    """A module with a backbone."""
    return brings("backbones", '{"broken": Broken}', f"class Broken(Backbone):\n{indented(body)}")


def indented(body: str) -> str:
    """Lines of a class."""
    return "\n".join(f"    {line}" for line in body.strip("\n").splitlines()) + "\n"


INIT = "def __init__(self):\n    super().__init__()\n    self.one = nn.Conv2d(3, 8, 3, 2, 1)\n"
SHAPE = f"channels, strides = (8,), (2,)\n{INIT}"
FORWARD = "def forward(self, images):\n    return [self.one(images)]\n"


def method(body: str, init: str = "") -> str:
    """A module with a method."""
    start = f"""
recipe = {{"optimizer": "sgd", "lr": 0.1}}
views = [View(), View()]
def __init__(self, backbone):
    super().__init__()
    self.backbone = backbone
    {init}
"""
    return brings("ssl", '{"broken": Broken}', f"class Broken(SSLMethod):\n{indented(start + body)}")


def head(kind: str, forward: str) -> str:
    """A module with a head."""
    body = f"""
pools = {kind == "heads"}
def __init__(self, channels, strides, classes):
    super().__init__()
    self.one = nn.Linear(1, classes)
def forward(self, features, size):
    {forward}
"""
    return brings(kind, '{"broken": Broken}', f"class Broken(Head):\n{indented(body)}")


def dataset(body: str) -> str:
    """A module with a dataset."""
    return brings("datasets", '{"broken": Broken}', f"class Broken(Dataset):\n{indented(body)}")


SAMPLES = "def __init__(self, root, split):\n    self.classes, self.samples = (), [(str(i), -1) for i in range(16)]\n"


def metric(body: str) -> str:
    """A module with a metric."""
    return brings("metrics", '{"broken": Broken}', f"class Broken(Metric):\n{indented(body)}")


RESET = "def __init__(self, classes):\n    pass\ndef reset(self):\n    pass\n"
UPDATE = "def update(self, logits, target):\n    pass\n"
