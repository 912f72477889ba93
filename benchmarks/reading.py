"""Reading images: raw image cache, shards, and WebDataset's own loader on the same tar files.

    python -m benchmarks.reading FOLDER [--canvas 128] [--batch 256] [--turns 5]
    python -m benchmarks.reading --rows 1000000

The first form packs the images of a folder and reads batches, in turns, in one process: medians of images per second
without any network, the rate of building, and the bytes on disk. WebDataset is left out where it is not installed; it
decodes in as many worker processes as there are cores.

The second form makes an index of so many rows that all point to a few images, and opens it in a fresh process: the time
until the first batch, after the imports, and the memory of that process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.scale import memory

SIDE, PER_SHARD = 32, 10_000


def compare(folder: Path, canvas: int, batch: int, turns: int) -> None:
    """Build both forms of the images of a folder, and read each in turns."""
    import torch

    from ssl_seg.data.files import FileDataset, find_images
    from ssl_seg.data.image_cache import ImageCache, open_image_cache
    from ssl_seg.data.loader import Loader
    from ssl_seg.data.shards.packing import PackOptions, pack

    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        dataset = FileDataset(folder, ((path, -1) for path in find_images(folder)))
        count = len(dataset)
        options = PackOptions(canvas, threads=os.cpu_count() or 1, shard_bytes=16 << 20)
        raw_rate = count / seconds(lambda: open_image_cache(dataset, canvas, out / "cache"))
        shard_rate = count / seconds(lambda: pack(dataset, out / "shards", options, out / "table"))
        raw, shards = open_image_cache(dataset, canvas, out / "cache"), ImageCache(out / "shards")
        readers = {
            "raw": loader_reader(Loader(raw, batch, 0, cpu)),
            "shards": loader_reader(Loader(shards, batch, 0, cpu)),
        }
        try:
            readers["webdataset"] = webdataset_reader(out / "shards", batch)
        except ImportError:
            print("webdataset is not installed")
        steps = max(1, count // batch)
        speeds: dict[str, list[float]] = {name: [] for name in readers}
        for turn in range(turns + 1):
            for name, reader in readers.items():
                speed = steps * batch / seconds(lambda reader=reader: [next(reader) for _ in range(steps)])
                if turn:  # the first warms up
                    speeds[name].append(speed)
        print(f"{count:,} images, canvas {canvas}, batches of {batch}, medians of {turns} turns")
        for name, values in speeds.items():
            built = {"raw": raw_rate, "shards": shard_rate}.get(name)
            size = sum(
                path.stat().st_size for path in (out / ("cache" if name == "raw" else "shards")).rglob("*")
            )
            rate = f", built at {built:,.0f} images/s" if built else ""
            print(
                f"{name:11} {statistics.median(values):9,.0f} images/s, {size / count:8,.0f} bytes an image{rate}"
            )


def loader_reader(loader) -> Iterator[object]:
    step = 0
    while True:
        yield loader.batch_at(step)
        step += 1


def webdataset_reader(folder: Path, batch: int) -> Iterator[object]:
    import torch
    import webdataset

    urls = sorted(map(str, folder.glob("*.tar")))
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls), resampled=True).shuffle(1000).decode("rgb8")
    stream = stream.to_tuple("jpg").map_tuple(torch.from_numpy).batched(batch, collation_fn=list)
    return iter(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=os.cpu_count() or 1))


def seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def make_rows(count: int, folder: Path) -> None:
    """An index of `count` rows over tar files that are links to one of ten images."""
    from ssl_seg.data.arrays import Arrays
    from ssl_seg.data.shards.encoding import encode
    from ssl_seg.data.shards.pack_index import write_pack_index
    from ssl_seg.data.shards.shard_file import index_path, read_shard_index, write_shard

    pixels = np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8)
    dataset = Arrays(pixels)
    first = folder / "shard-000000.tar"
    write_shard(first, "", 0, [encode(dataset, index, SIDE, 90) for index in range(10)], {})
    few = read_shard_index(first)
    assert few is not None
    rows = np.arange(PER_SHARD) % 10
    names = [f"{index:012d}.jpg".encode() for index in range(PER_SHARD)]
    columns = {
        "fingerprint": np.array(""),
        "num_bytes": np.array(few.num_bytes),
        **{name: getattr(few, name)[rows] for name in ("members", "sizes", "targets", "digests")},
        "names": np.frombuffer(b"".join(names), np.uint8),
        "names_ends": np.cumsum([len(name) for name in names]),
        **{name: np.array([], np.int64) for name in ("bad_rows", "bad_ends")},
        "bad": np.array([], np.uint8),
    }
    paths = [folder / f"shard-{number:06d}.tar" for number in range(count // PER_SHARD)]
    for path in paths:
        if path != first:
            os.link(first, path)
        np.savez(index_path(path), **columns)
    took = seconds(lambda: write_pack_index(folder, paths, dataset, SIDE, {}, skip=False))
    print(f"{count:,} rows: index written in {took:.1f} s, {memory()[0]:.0f} MiB of the process")


def read_rows(folder: Path) -> None:
    """Open an index, read batches, print time and memory."""
    import torch

    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Loader
    from ssl_seg.data.shards.dataset import ShardDataset

    before = memory()
    started = perf_counter()
    dataset = ShardDataset(folder)
    loader = Loader(ImageCache(folder), 256, 0, torch.device("cpu"))
    loader.batch_at(0)
    first = perf_counter() - started
    for step in range(1, 100):
        loader.batch_at(step)
    own = memory()[0] - before[0]
    print(f"{len(dataset):,} rows: first batch after {first:.2f} s, {own:.0f} MiB more after 100 batches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--canvas", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_rows(given.read)
    elif given.folder:
        compare(given.folder, given.canvas, given.batch, given.turns)
    for count in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            make_rows(count, Path(folder))
            subprocess.run([sys.executable, "-m", "benchmarks.reading", "--read", folder], check=True)


if __name__ == "__main__":
    main()
