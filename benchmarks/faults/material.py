"""What trials are made on: small pictures, labels and masks, and a tiny network that is a plugin."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

TINY = Path(__file__).parents[2] / "tests" / "faults" / "tiny.py"
STUDY = """seeds = [0]
out = "out"

[defaults.classify]
train = "{lab}/labelled"
val = "{lab}/labelled-val"
image_size = 16
epochs = 1
batch_size = 8
cpu = true

[stages.pre]
title = "Without labels"
command = "train"
data = "{lab}/photos"
backbone = "tiny"
image_size = 16
epochs = 1
batch_size = 8
cpu = true
o.ssl.hidden = 16

[stages.fine]
command = "classify"
init = "@pre"
seeds = [0]

[table]
rows = ["fine"]
score = "val_top1"
"""
_HOOK = """

from ssl_seg.hooks import hookimpl


@hookimpl
def backbones():
    return {"tiny": TinyBackbone}
"""


def site(folder: Path) -> Path:
    """A folder of packages in which `tiny` is installed."""
    package(folder, "ssl-seg-tiny", TINY.read_text() + _HOOK)
    return folder


def package(folder: Path, name: str, code: str, entry: str = "", metadata: str | None = None) -> None:
    """Install a package of one module, as pip leaves it."""
    module = name.replace("-", "_")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" if metadata is None else metadata
    (info / "METADATA").write_text(text)
    (info / "entry_points.txt").write_text(entry or f"[ssl_seg]\n{name} = {module}\n")


def data(folder: Path) -> None:
    """Make `photos`, `labelled`, `labelled-val`, `pairs` and `pairs-val`."""
    random = np.random.default_rng(0)
    for name, count in (("photos", 32), ("labelled", 24), ("labelled-val", 12)):
        for index in range(count):
            below = "" if name == "photos" else "abc"[index % 3]
            path = folder / name / below / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(random, hue=index % 3).save(path)
    for name, count in (("pairs", 8), ("pairs-val", 4)):
        pairs(folder / name, count, random)
    (folder / "home").mkdir()


def picture(random: np.random.Generator, hue: int = 0, side: int = 20) -> Image.Image:
    """A small picture in coarse patches, with more of one colour."""
    coarse = random.integers(0, 160, (5, 5, 3), dtype=np.uint8)
    coarse[..., hue] += 80
    return Image.fromarray(coarse).resize((side, side + 4), Image.Resampling.BICUBIC)


def pairs(folder: Path, count: int, random: np.random.Generator) -> None:
    """Pictures with masks of three classes, in coarse patches of their colours."""
    folder.mkdir(parents=True)
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], dtype=np.uint8)
    names = ["ground", "fire", "grass"]
    listed = {name: colour.tolist() for name, colour in zip(names, colours, strict=True)}
    (folder / "palette.json").write_text(json.dumps(listed))
    for index in range(count):
        classes = random.integers(0, 3, (4, 4)).repeat(6, 0).repeat(6, 1)
        noise = random.integers(0, 90, (24, 24, 3))
        Image.fromarray((colours[classes] // 2 + noise).astype(np.uint8)).save(
            folder / f"{index:03d}_sat.png"
        )
        Image.fromarray(colours[classes]).save(folder / f"{index:03d}_mask.png")
