"""Reading images: raw image cache and shards, and the loaders of WebDataset and LitData on the same JPEG files.

    python -m benchmarks.reading FOLDER [--canvas 128] [--batch 256] [--turns 5] [--work DISK] [--json FILE]
    python -m benchmarks.reading --rows 1000000

The first form builds each form from the images of a folder, then reads batches without any network, in turns: each turn
starts a fresh process for each loader, which reads an epoch with nothing of its files in the page cache (cold), and
three with all of them (warm). Medians of images per second, time from opening to the first batch, memory of the process
and its workers in the midst of an epoch, rate and memory of building, bytes on disk. WebDataset and LitData read the JPEG
files of the shards, decoded by Pillow as ours, in as many worker processes as there are cores; they are left out where
they are not installed: `uv pip install webdataset litdata`.

The second form makes an index of so many rows that all point to a few images, and opens it in a fresh process: the time
until the first batch, after the imports, and the memory of that process.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.scale import memory

SIDE, PER_SHARD, WARM_EPOCHS = 32, 10_000, 3
FORMS = {"raw": "cache", "shards": "shards", "webdataset": "shards", "litdata": "litdata"}
BUILT = ("raw", "shards", "litdata")  # WebDataset reads what `pack` has written


def compare(folder: Path, given: argparse.Namespace) -> None:
    """Build all forms of the images of a folder, and read each in turns."""
    readers = [name for name in FORMS if name not in ("webdataset", "litdata") or find_spec(name)]
    print(*(f"{name} is not installed" for name in FORMS if name not in readers), sep="\n")
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        words = ["--work", work, "--canvas", str(given.canvas), "--batch", str(given.batch)]
        built = {name: child("--build", name, str(folder), *words) for name in BUILT if name in readers}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in readers}
        for _ in range(given.turns):
            for name, turns in found.items():
                turns.append(child("--reader", name, str(folder), *words))
        count = int(built["shards"]["images"])
        sizes = {name: num_bytes(Path(work) / FORMS[name]) / count for name in readers}
    rows = {
        name: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        | {"bytes": sizes[name], "built": built.get(name, {}).get("rate", 0.0)}
        | {"build_mib": built.get(name, {}).get("mib", 0.0)}
        for name, turns in found.items()
    }
    print(
        f"{count:,} images, canvas {given.canvas}, batches of {given.batch}, medians of {given.turns} turns"
    )
    print("            cold/s   warm/s  start s      MiB  built/s  build MiB  bytes an image")
    for name, row in rows.items():
        print(
            f"{name:10} {row['cold']:7,.0f}  {row['warm']:7,.0f}  {row['start']:7.2f}  {row['mib']:7,.0f}  "
            f"{row['built']:7,.0f}  {row['build_mib']:9,.0f}  {row['bytes']:14,.0f}"
        )
    if given.json:
        given.json.write_text(
            json.dumps({"images": count, "canvas": given.canvas, "readers": rows}, indent=1)
        )


def child(*words: str) -> dict[str, float]:
    """Do one part in a fresh process; what it prints last."""
    command = [sys.executable, "-m", "benchmarks.reading", *words]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def build(name: str, folder: Path, work: Path, canvas: int) -> dict[str, float]:
    from ssl_seg.data.files import FileDataset, find_images
    from ssl_seg.data.image_cache import open_image_cache
    from ssl_seg.data.shards.packing import PackOptions, pack

    dataset = FileDataset(folder, ((path, -1) for path in find_images(folder)))
    options = PackOptions(canvas, threads=os.cpu_count() or 1, shard_bytes=16 << 20)
    builders: dict[str, Callable[[], object]] = {
        "raw": lambda: open_image_cache(dataset, canvas, work / "cache"),
        "shards": lambda: pack(dataset, work / "shards", options, work / "table"),
        "litdata": lambda: build_litdata(work),
    }
    before = memory()[0]
    took = seconds(builders[name])
    return {"images": len(dataset), "rate": len(dataset) / took, "mib": memory()[0] - before}


def read(name: str, work: Path, batch: int, count: int) -> dict[str, float]:
    """One epoch cold, some warm."""
    import torch

    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Loader

    cpu = torch.device("cpu")
    openers: dict[str, Callable[[], Iterator[object]]] = {
        "raw": lambda: loader_reader(Loader(ImageCache(raw_cache(work)), batch, 0, cpu)),
        "shards": lambda: loader_reader(Loader(ImageCache(work / "shards"), batch, 0, cpu)),
        "webdataset": lambda: webdataset_reader(work / "shards", batch),
        "litdata": lambda: litdata_reader(work / "litdata", batch),
    }
    if name in ("webdataset", "litdata"):
        __import__(name)
    forget(work / FORMS[name])
    steps, before = max(2, count // batch), tree_memory()
    started = perf_counter()
    reader = openers[name]()
    next(reader)
    start = perf_counter() - started
    cold = seconds(lambda: drop(reader, steps - 1))
    warm = [seconds(lambda: drop(reader, steps)) for _ in range(WARM_EPOCHS)]
    drop(reader, steps // 2)  # LitData's workers end with an epoch
    return {
        "start": start,
        "cold": steps * batch / (start + cold),
        "warm": steps * batch / statistics.median(warm),
        "mib": tree_memory() - before,
    }


def drop(reader: Iterator[object], count: int) -> None:
    """Read batches, and keep none."""
    for _ in range(count):
        next(reader)


def raw_cache(work: Path) -> Path:
    return next(path.parent for path in (work / "cache").glob("*/index.json"))


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


def member(place: tuple[str, int, int]) -> dict[str, bytes]:
    """The JPEG file of an image of a shard, as LitData stores it."""
    path, offset, length = place
    with open(path, "rb") as file:
        file.seek(offset)
        return {"image": file.read(length)}


def build_litdata(work: Path) -> None:
    import litdata

    from ssl_seg.data.shards.dataset import ShardDataset

    dataset = ShardDataset(work / "shards")
    places = [(dataset.file(row), *dataset._members[row, 1:3].tolist()) for row in range(len(dataset))]
    options = {"num_workers": os.cpu_count() or 1, "chunk_bytes": "16MB"}
    litdata.optimize(fn=member, inputs=places, output_dir=str(work / "litdata"), **options)


def decoded(item: dict[str, bytes]):
    import torch
    from PIL import Image

    with Image.open(io.BytesIO(item["image"])) as image:
        return torch.from_numpy(np.array(image.convert("RGB")))


def litdata_reader(folder: Path, batch: int) -> Iterator[object]:
    import litdata

    stream = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True, transform=decoded)
    workers = os.cpu_count() or 1
    loader = litdata.StreamingDataLoader(stream, batch_size=batch, num_workers=workers, collate_fn=list)
    while True:
        yield from loader


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from its page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def tree_memory() -> float:
    """MiB that belong to this process and to its workers."""
    pids, found = [os.getpid()], 0.0
    for pid in pids:
        with suppress(OSError):  # it has ended
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            fields = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            anonymous = fields.get("RssAnon", "0 kB")  # none: it has ended, and was not waited for
            found += int(anonymous.split()[0]) / 1024
    return found


def num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
    parser.add_argument("--work", type=Path, help="folder for what is built; default: the system's")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    for part in ("--read", "--build", "--reader"):
        parser.add_argument(part, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_rows(Path(given.read))
    elif given.build:
        print(json.dumps(build(given.build, given.folder, given.work, given.canvas)))
    elif given.reader:
        from ssl_seg.data.image_cache import ImageCache

        count = len(ImageCache(given.work / "shards"))
        print(json.dumps(read(given.reader, given.work, given.batch, count)), flush=True)
        os._exit(0)  # workers of other loaders end with it, without a word
    elif given.folder:
        compare(given.folder, given)
    for count in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            make_rows(count, Path(folder))
            subprocess.run([sys.executable, "-m", "benchmarks.reading", "--read", folder], check=True)


if __name__ == "__main__":
    main()
