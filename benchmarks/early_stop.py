"""Does `--early-stop` end near the best epoch? The best score up to its end, beside the best of the whole run.

    python -m benchmarks.early_stop TRAIN --val VAL --out stop [--early-stop val_top1:8] [--epochs 40] [--seeds 3]

For each seed `ssl-seg classify` is run twice, with `--early-stop` and without; everything else is equal, so the first is the
beginning of the second, which is checked. The schedule is constant: one that falls would end at another rate. What is
finished is not repeated. With the defaults about three minutes of one core for 1,000 images.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import ssl_seg
from ssl_seg.results.scores import read_scores

WITHIN = 0.01  # of the best score: absolute, as scores are from 0 to 1


def scores_of(out: Path, seed: int, args: argparse.Namespace, early_stop: str | None) -> list[dict[str, Any]]:
    """One line per epoch of a run; the run itself if it is not finished."""
    if not (out / "result.json").exists():
        ssl_seg.classify(
            args.train,
            args.val,
            backbone=None if args.init else args.backbone,
            init=args.init,
            freeze=args.freeze,
            image_size=args.image_size,
            batch_size=args.batch_size,
            epochs=args.epochs,
            schedule="constant",
            early_stop=early_stop,
            seed=seed,
            keep_features=0,
            out=out,
            resume=(out / "run.toml").exists(),
        )
    return read_scores(out)


def compare(whole: list[dict[str, Any]], stopped: list[dict[str, Any]], score: str) -> dict[str, float]:
    """Epochs and scores of a run and of its beginning."""
    same = all(one[score] == other[score] for one, other in zip(whole, stopped, strict=False))
    assert same, "the stopped run is not the beginning of the whole one"
    best, found = (max(lines, key=lambda line: line[score]) for lines in (whole, stopped))
    return {
        "ended": len(stopped),
        "epochs": len(whole),
        "best": best[score],
        "best_epoch": best["epoch"],
        "found": found[score],
        "found_epoch": found["epoch"],
    }


def main() -> None:
    """Run both for all seeds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("--val", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--early-stop", default="val_top1:8")
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--init", help="a run or weights to start from, in place of --backbone")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    score, found = args.early_stop.rpartition(":")[0], []
    print("seed  ended  best of the whole run  best until the end  difference")
    for seed in range(args.seeds):
        whole = scores_of(args.out / f"whole-{seed}", seed, args, None)
        stopped = scores_of(args.out / f"stopped-{seed}", seed, args, args.early_stop)
        found.append(row := compare(whole, stopped, score))
        print(
            f"{seed:4}  {row['ended']:2}/{row['epochs']:2}  {row['best']:.3f} in epoch {row['best_epoch']:3}"
            f"    {row['found']:.3f} in epoch {row['found_epoch']:3}  {row['best'] - row['found']:.3f}"
        )
    lost = [row["best"] - row["found"] for row in found]
    saved = 1 - sum(row["ended"] for row in found) / sum(row["epochs"] for row in found)
    print(
        f"mean difference {fmean(lost):.4f}, largest {max(lost):.4f}: {sum(each <= WITHIN for each in lost)} of "
        f"{len(lost)} within {WITHIN:g}; {saved:.0%} of the epochs saved"
    )
    (args.out / "early_stop.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
