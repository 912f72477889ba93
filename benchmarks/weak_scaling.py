"""Weak scaling of `ssl-seg train` on the CPU: what processes that train together lose beside as many that train alone.

    python -m benchmarks.weak_scaling [--processes 2] [--batch 32] [--steps 12] [--turns 3] [--backbone resnet18]

Every process has one thread and a batch of --batch images. In turns: one process; `--processes` that know nothing of
each other, which is what the machine gives; and as many by `torchrun`, with BatchNorm over all images, and within each
process. The second epoch counts, by the program's own clock.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ssl_seg.results.scores import read_scores


def train(out: Path, processes: int, args: argparse.Namespace, *more: str) -> "subprocess.Popen[bytes]":
    """Start a run of two epochs."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = [sys.executable, *(launcher if processes > 1 else []), "-m", "ssl_seg"]
    batch = args.batch * processes
    words = [
        "train",
        f"demo:{batch * args.steps}",
        "--backbone",
        args.backbone,
        "--image-size",
        str(args.size),
    ]
    words += ["--batch-size", str(batch), "--epochs", "2", "--device", "cpu", "--out", str(out), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*program, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def images_per_second(runs: list[tuple[Path, "subprocess.Popen[bytes]"]]) -> float:
    """Of all runs together."""
    assert not any(child.wait() for _, child in runs), "a run failed"
    return sum(read_scores(out)[-1]["images_per_second"] for out, _ in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32, help="images of a process in a step")
    parser.add_argument("--steps", type=int, default=12, help="of an epoch")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    count = args.processes
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for turn in range(args.turns):
            for name, alone, more in (
                ("one process", 1, ()),
                ("alone, at the same time", count, ()),
                ("together, off", 1, ("--sync-batchnorm", "off")),
                ("together, all", 1, ("--sync-batchnorm", "all")),
            ):
                processes = count if more else 1
                outs = [root / f"{turn} {name} {index}" for index in range(alone)]
                runs = [(out, train(out, processes, args, *more)) for out in outs]
                found.setdefault(name, []).append(images_per_second(runs))
    ideal = statistics.median(found["alone, at the same time"])
    for name, rates in found.items():
        share = statistics.median(
            own / most for own, most in zip(rates, found["alone, at the same time"], strict=True)
        )
        shown = ", ".join(f"{rate:.1f}" for rate in rates)
        print(f"{name:24} {statistics.median(rates):7.1f} images/s ({shown}), {share:.2f} of {ideal:.1f}")


if __name__ == "__main__":
    main()
