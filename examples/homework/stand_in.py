"""Painted images in the layout of the course's data, for those who do not have it: everything runs, the scores mean nothing.

    python examples/homework/stand_in.py hw1_data [--images 1000]

The folder must not exist. `pretrain_model_SL.pt` is a ResNet-50 in torchvision's layout with random weights, so settings B and
D start from nothing here.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.datasets.demo_masks import DemoMaskDataset

# the colors of the course; the scene has more classes than they are, and shares them
COLORS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
WATCHED = (13, 62, 104)  # what the course asks for


def save(pixels: np.ndarray, path: Path, size: int) -> None:
    """An image, enlarged without blur, so that masks keep their colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path)


def unlabeled(folder: Path, count: int) -> None:
    """Images without labels."""
    scenes = DemoDataset("unlabeled", count)
    for index in range(count):
        save(scenes.image(index, 96)[0], folder / f"{index}.jpg", 84)


def labeled(folder: Path, split: str, count: int) -> None:
    """Images and a CSV file `id,filename,label`."""
    scenes = DemoDataset(split, count)
    rows = []
    for index in range(count):
        save(scenes.image(index, 96)[0], folder / split / f"{index:05}.jpg", 128)
        rows.append([index, f"{index:05}.jpg", scenes.classes[scenes.samples[index][1]]])
    with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "filename", "label"], *rows])


def tiles(folder: Path, split: str, numbers: list[int]) -> None:
    """Images with masks in the course's colors."""
    scenes = DemoMaskDataset(split, len(numbers))
    for index, number in enumerate(numbers):
        mask = np.array(COLORS, dtype=np.uint8)[scenes.mask(index, 96) % len(COLORS)]
        save(scenes.image(index, 96)[0], folder / f"{number:04}_sat.jpg", 512)
        save(mask, folder / f"{number:04}_mask.png", 512)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000, help="of each kind; fewer for validation")
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    first, second, few = args.folder / "p1_data", args.folder / "p2_data", max(12, args.images // 10)
    unlabeled(first / "mini" / "train", args.images)
    labeled(first / "office", "train", args.images)
    labeled(first / "office", "val", few)
    tiles(second / "train", "train", list(range(200, 200 + few)))
    tiles(second / "validation", "val", [*WATCHED, *range(300, 300 + few // 2)])
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50().state_dict(), first / "pretrain_model_SL.pt")
    print(f"{args.folder}: painted images in the layout of the course's data")


if __name__ == "__main__":
    main()
