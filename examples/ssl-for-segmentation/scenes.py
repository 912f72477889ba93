"""Split tiles of large scenes into training, validation and test scenes, so that no two parts share a border.

    python scenes.py hw1_data/p2_data/train hw1_data/p2_data/validation --out data

Tiles that were cut from one scene touch: the last row of one continues in the first row of the next. Random tiles held
back are then views of the training scenes, and their score is too good. This script compares all borders, joins
tiles that continue each other into scenes, deals whole scenes to the three parts with class frequencies as equal as it
can, and copies the images and masks to `OUT/train`, `OUT/val` and `OUT/test`. `OUT/neighbors.csv` lists the pairs.
`OUT/crops` has the training tiles cut into squares, for pre-training at the scale that the segmenter sees.
"""

import argparse
import csv
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAT, MASK = "_sat.jpg", "_mask.png"
PARTS = ("train", "val", "test")
LEAST = 0.6  # correlation of two borders that continue each other; those of other scenes rarely exceed 0.5
DEALS = 2000


def borders(files: Sequence[Path]) -> dict[str, NDArray[np.float32]]:
    """The four borders of each tile, without their mean color and scaled to norm 1: name -> (N, 3 * side)."""
    lines: dict[str, list[NDArray[np.float32]]] = {"left": [], "right": [], "top": [], "bottom": []}
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
        cut = {"left": pixels[:, 0], "right": pixels[:, -1], "top": pixels[0], "bottom": pixels[-1]}
        for name, line in cut.items():
            line = (line - line.mean(axis=0)).ravel()
            lines[name].append(line / (np.linalg.norm(line) + 1e-6))
    return {name: np.stack(each) for name, each in lines.items()}


def neighbors(lines: dict[str, NDArray[np.float32]]) -> Iterator[tuple[int, int, str, float]]:
    """Pairs of tiles of which each is the other's best continuation: first, second, where it lies, correlation."""
    for one, other, where in (("right", "left", "right of"), ("bottom", "top", "below")):
        match = lines[one] @ lines[other].T
        np.fill_diagonal(match, -1.0)
        best = match.argmax(axis=1)
        for first, second in enumerate(best):
            if match[first, second] >= LEAST and match[:, second].argmax() == first:
                yield first, int(second), where, float(match[first, second])


def scenes(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Tiles joined by pairs."""
    owner = list(range(count))
    for first, second in pairs:
        old, new = owner[first], owner[second]
        owner = [new if each == old else each for each in owner]
    groups: dict[int, list[int]] = {}
    for tile, group in enumerate(owner):
        groups.setdefault(group, []).append(tile)
    return sorted(groups.values())


def class_pixels(masks: Sequence[Path]) -> NDArray[np.float64]:
    """Pixels of each color of the masks: (N, colors), rare colors left out."""
    counts = [
        Counter(dict(map(reversed, Image.open(mask).convert("RGB").getcolors(1 << 24)))) for mask in masks
    ]
    total: Counter[tuple[int, int, int]] = sum(counts, Counter())
    colors = [color for color, pixels in total.items() if pixels > 1e-4 * total.total()]
    return np.array([[count[color] for color in colors] for count in counts], dtype=np.float64)


def deal(
    groups: list[list[int]], pixels: NDArray[np.float64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """The part of each tile: of many random deals the one whose parts resemble the whole most."""
    draw, whole = random.Random(seed), pixels.sum(axis=0) / pixels.sum()
    best, best_gap = np.zeros(len(pixels), dtype=np.int64), np.inf
    for _ in range(DEALS):
        draw.shuffle(groups)
        parts, room = np.zeros(len(pixels), dtype=np.int64), [share * len(pixels) for share in shares[1:]]
        for group in groups:
            for part, left in enumerate(room, 1):
                if len(group) <= left:
                    parts[group], room[part - 1] = part, left - len(group)
                    break
        held = [pixels[parts == part].sum(axis=0) for part in range(1, len(shares))]
        gap = sum(float(np.abs(np.log((each / each.sum() + 1e-4) / (whole + 1e-4))).sum()) for each in held)
        if gap < best_gap:
            best, best_gap = parts, gap
    return best


def write_crops(image: Path, folder: Path, stem: str, side: int) -> None:
    """Write the squares of a tile, without overlap."""
    pixels = Image.open(image).convert("RGB")
    for top in range(0, pixels.height - side + 1, side):
        for left in range(0, pixels.width - side + 1, side):
            crop = pixels.crop((left, top, left + side, top + side))
            crop.save(folder / f"{stem}-{top}-{left}.jpg", quality=95)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", nargs=3, type=float, default=[0.76, 0.12, 0.12])
    parser.add_argument("--crop", type=int, default=128, help="side of the squares in pixels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    images = [file for folder in args.folders for file in sorted(folder.glob(f"*{SAT}"))]
    masks = [file.with_name(file.name.replace(SAT, MASK)) for file in images]
    pairs = list(neighbors(borders(images)))
    groups = scenes(len(images), [pair[:2] for pair in pairs])
    parts = deal(groups, class_pixels(masks), args.shares, args.seed)
    if args.out.exists():
        raise SystemExit(f"{args.out} exists: choose another --out")
    for folder in (*PARTS, "crops"):
        (args.out / folder).mkdir(parents=True)
    for image, mask, part in zip(images, masks, parts, strict=True):
        for file in (image, mask):
            shutil.copyfile(file, args.out / PARTS[part] / f"{file.parent.name}-{file.name}")
        if part == 0:
            stem = f"{image.parent.name}-{image.name.removesuffix(SAT)}"
            write_crops(image, args.out / "crops", stem, args.crop)
    with (args.out / "neighbors.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["tile", "neighbor", "lies", "correlation"])
        rows.writerows([images[a], images[b], where, f"{match:.3f}"] for a, b, where, match in pairs)
    touching = {tile for a, b, *_ in pairs if images[a].parent != images[b].parent for tile in (a, b)}
    print(f"{len(images)} tiles, {len(pairs)} borders in common, {len(groups)} scenes or single tiles")
    for folder in args.folders:
        tiles = [index for index, image in enumerate(images) if image.parent == folder]
        print(f"{folder}: {len(touching & set(tiles))} of {len(tiles)} tiles touch one of another folder")
    print(", ".join(f"{name}: {(parts == part).sum()} tiles" for part, name in enumerate(PARTS)))


if __name__ == "__main__":
    main()
