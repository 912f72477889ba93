"""Host memory of a large store against a small one.

    python -m benchmarks.scale [--counts 2000,200000]

Each store of tiny images is built by one process and read by another, fresh one, which makes 200
random batches of it and prints how much memory it has of its own (private, not backed by a file) and
how much of the mapped file happens to lie in memory, which the system takes back when it needs it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

SIDE = 16


def build(count: int, cache: Path) -> None:
    """A store of `count` images of one colour each."""
    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import open_image_cache

    class Flat(Dataset):
        def __init__(self) -> None:
            self.classes, self.samples = (), [(str(index), -1) for index in range(count)]

        def identity(self, index: int) -> str:
            return str(index)

        def image(self, index: int, canvas: int):
            return np.full((SIDE, SIDE, 3), index % 256, dtype=np.uint8), (SIDE, SIDE)

    started = perf_counter()
    open_image_cache(Flat(), SIDE, cache)
    print(f"{count:8,} images: built at {count / (perf_counter() - started):,.0f} images/s")


def read(cache: Path) -> None:
    """Open the only store of a folder, make batches of it, print the memory."""
    import torch

    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Loader

    before = memory()
    image_cache = ImageCache(next(path for path in cache.iterdir() if path.is_dir()))
    batches = Loader(image_cache, 256, 0, torch.device("cpu"))
    for step in range(200):
        batches.batch_at(step)
    own, mapped = (after - old for after, old in zip(memory(), before, strict=True))
    print(f"{len(image_cache):8,} images: {own:6.1f} MiB of its own, {mapped:6.1f} MiB of the file mapped")


def memory() -> tuple[float, float]:
    """MiB that belong to this process alone, and MiB of files mapped into it."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--counts", default="2000,200000")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(given.read)
        return
    for count in map(int, given.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            build(count, Path(folder))
            subprocess.run([sys.executable, "-m", "benchmarks.scale", "--read", folder], check=True)


if __name__ == "__main__":
    main()
