"""Do pseudo-labels help? 100 labelled tiles alone, beside the same tiles with the others' pseudo-labels.

    python examples/ssl-for-segmentation/scenes.py TILES/train TILES/validation --out data
    python -m benchmarks.pseudo_labels data --out pseudo [--init RUN] [--seeds 3] [--steps 200]

`data` has `train` and `test`, which share no scene. For each seed, which also draws the labelled tiles: a model on the
labelled tiles alone (`alone`); its confident predictions on all other training tiles; a new model on both, of as many
steps (`both`); and, because the first two cost twice as much, one on the labelled tiles alone of twice the steps
(`longer`). All are measured once, after the last step, on whole tiles of `data/test`. Tiles are reduced to `--canvas`
pixels. What is finished is not repeated. With the defaults about 35 minutes on two cores.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import ssl_seg

ARMS = ("alone", "both", "longer")


def train(
    data: Path, out: Path, steps: int, seed: int, args: argparse.Namespace, **more: Any
) -> dict[str, Any]:
    """The scores of a run; the run itself if it is not finished."""
    if not (out / "result.json").exists():
        network = {"init": args.init} if args.init else {"backbone": args.backbone}
        ssl_seg.segment(
            str(data / "train"),
            str(data / "test"),
            images=args.images,
            subset_seed=seed,
            seed=seed,
            epochs=10_000,
            max_steps=steps,
            val_every=10_000,
            canvas=args.canvas,
            image_size=args.crop,
            head=args.head,
            augment="turns",
            option=["data.stray=ignore", "backbone.output_stride=16"],
            out=out,
            resume=(out / "run.toml").exists(),
            **network,
            **more,
        )
    return json.loads((out / "result.json").read_text())["last"]


def one_seed(data: Path, out: Path, seed: int, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The scores of the three arms."""
    scores = {"alone": train(data, out / "alone", args.steps, seed, args)}
    if not (labels := out / "labels").exists():
        share = args.per_class_share or None
        found = ssl_seg.pseudo_label(
            out / "alone", [str(data / "train")], labels, threshold=args.threshold, per_class_share=share
        )
        print(f"seed {seed}: {found.count} of {found.images} tiles labeled", json.dumps(found.classes))
    extra = {"extra": str(labels), "extra_weight": args.extra_weight}
    scores["both"] = train(data, out / "both", args.steps, seed, args, **extra)
    scores["longer"] = train(data, out / "longer", 2 * args.steps, seed, args)
    return scores


def report(found: list[dict[str, dict[str, Any]]]) -> None:
    """Mean and standard deviation over seeds, of the mean IoU and of each class, and paired differences."""
    names = ["miou", *(name for name in found[0]["alone"] if name.startswith("iou/"))]
    print(f"{'':16}" + "".join(f"{arm:>16}" for arm in ARMS) + f"{'both - alone':>16}{'both - longer':>16}")
    for name in names:
        columns = {arm: [scores[arm].get(name) or 0.0 for scores in found] for arm in ARMS}
        for other in ("alone", "longer"):
            columns[other + "-"] = [b - a for a, b in zip(columns[other], columns["both"], strict=True)]
        cells = []
        for values in columns.values():
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):8.3f} ± {spread:.3f}")
        print(f"{name:16}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", help="a run or weights by name; without it from scratch")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--head", default="deeplabv3")
    parser.add_argument("--images", type=int, default=100, help="labelled tiles")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--canvas", type=int, default=256, help="side of the reduced tiles in pixels")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--per-class-share", type=float, default=0.2, help="0: one threshold for all classes")
    parser.add_argument("--extra-weight", type=float, default=0.5)
    args = parser.parse_args()
    report([one_seed(args.data, args.out / f"seed-{seed}", seed, args) for seed in range(args.seeds)])


if __name__ == "__main__":
    main()
