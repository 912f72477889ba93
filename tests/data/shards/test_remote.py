"""Packed images behind a URL."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest
import torch

from ssl_seg.data.arrays import Arrays
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Loader
from ssl_seg.data.shards import remote as module
from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.data.shards.pack_index import FILES
from ssl_seg.data.shards.packing import PackOptions, pack
from ssl_seg.data.shards.remote import RemoteShards
from ssl_seg.errors import DataError, ResourceError, UsageError

LOOPBACK = pytest.mark.allow_hosts(["127.0.0.1"])
_utime = os.utime
COUNT, PLENTY = 60, 1 << 30


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """60 images of noise in about ten shards."""
    folder = tmp_path_factory.mktemp("packed")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 24, 24, 3), dtype=np.uint8)
    dataset = Arrays(pixels, list(range(COUNT)))
    pack(dataset, folder / "out", PackOptions(limit=24, shard_bytes=16_000), folder / "cache")
    return folder / "out"


class Server:
    """Serves a folder, and notes what is asked for; `silent` names files that are sent by half."""

    def __init__(self, folder):
        self.asked, self.silent, self.free = [], set(), threading.Event()
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args, **named):
                super().__init__(*args, directory=str(folder), **named)

            def do_GET(self):
                name = self.path.rpartition("/")[2]
                server.asked.append(name)
                if name not in server.silent:
                    return super().do_GET()
                data = (folder / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                server.free.wait(60)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.free.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(packed):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'ssl-seg[http]'")
    made = Server(packed)
    yield made
    made.close()


@pytest.fixture
def memory(packed):
    files = fsspec.filesystem("memory")
    files.put(str(packed), "/packed", recursive=True)
    yield files
    files.rm("/packed", recursive=True)


def opened(url, cache, max_bytes=PLENTY):
    remote = RemoteShards(url, cache, max_bytes)
    dataset = ShardDataset(remote.folder, remote)
    return dataset, ImageCache(dataset.folder, dataset.files)


def same_batches(images, packed):
    loaders = [Loader(each, 8, 3, torch.device("cpu")) for each in (images, ImageCache(packed))]
    for step in range(14):
        one, two = (loader.batch_at(step) for loader in loaders)
        assert torch.equal(one.images, two.images) and torch.equal(one.targets, two.targets)
        assert torch.equal(one.samples, two.samples)


@LOOPBACK
def test_batches_over_http_are_those_of_the_folder_and_each_file_is_fetched_once(server, packed, tmp_path):
    dataset, images = opened(server.url, tmp_path)
    num_shards = len(dataset.index["shards"])
    assert num_shards >= 8 and not [name for name in server.asked if name.endswith(".tar")]
    same_batches(images, packed)
    same_batches(opened(server.url, tmp_path)[1], packed)  # the next run fetches nothing but the list
    fetched = [name for name in server.asked if name != "index.json"]
    assert len(fetched) == len(set(fetched)) == num_shards + len(FILES)
    assert dataset.file(0) == f"{server.url}/shard-000000.tar"


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_other_file_systems(protocol, memory, packed, tmp_path):
    url = "memory://packed" if protocol == "memory" else f"file://{packed}"
    dataset, images = opened(url + "/", tmp_path)
    same_batches(images, packed)
    pixels, size = dataset.image(5, 24)
    expected, _ = ShardDataset(packed).image(5, 24)
    assert size == (24, 24) and np.array_equal(pixels, expected)


def test_the_cache_is_bounded_and_keeps_what_was_used_last(memory, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 2)
    sizes = [path.stat().st_size for path in sorted(packed.glob("*.tar"))]
    limit = 3 * max(sizes)
    remote = RemoteShards("memory://packed", tmp_path, limit)
    tick = iter(range(10**6))
    monkeypatch.setattr(module.os, "utime", lambda path: _set_time(path, next(tick)))
    for number in (0, 1, 2, 0, 3, 4):
        remote.locate(number)
        kept = [path.name for path in remote.folder.glob("*.tar")]
        assert sum((remote.folder / name).stat().st_size for name in kept) <= limit
    assert sorted(kept) == ["shard-000000.tar", "shard-000003.tar", "shard-000004.tar"]
    with pytest.raises(UsageError, match="training mixes shards of") as caught:
        RemoteShards("memory://packed", tmp_path, max(sizes))
    assert "cache_gib" in caught.value.next


def _set_time(path, tick):
    with path.open("ab") as file:
        _utime(file.fileno(), ns=(tick, tick))


def test_a_reader_keeps_a_shard_that_is_removed_to_make_room(memory, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 1)
    limit = max(path.stat().st_size for path in packed.glob("*.tar"))
    _, images = opened("memory://packed", tmp_path, limit)
    every = torch.arange(COUNT)
    assert torch.equal(images.at(every)[0], ImageCache(packed).at(every)[0])
    assert torch.equal(images.at(every.flip(0))[0], ImageCache(packed).at(every.flip(0))[0])


@pytest.mark.parametrize("change", ["cut", "flipped"])
def test_a_shard_that_is_damaged_there_is_refused(change, memory, packed, tmp_path):
    data = bytearray((packed / "shard-000002.tar").read_bytes())
    data[600] ^= 1
    memory.pipe("/packed/shard-000002.tar", bytes(data if change == "flipped" else data[:-5]))
    remote = RemoteShards("memory://packed", tmp_path, PLENTY)
    with pytest.raises(
        ResourceError, match="bytes instead of" if change == "cut" else "checksum mismatch"
    ) as caught:
        remote.locate(2)
    assert caught.value.where == "memory://packed/shard-000002.tar" and caught.value.next
    assert not list(remote.folder.glob("shard-000002*")) and not list(remote.folder.glob(".shard*.tmp-*"))


def test_an_index_that_was_damaged_on_its_way_is_fetched_again(memory, packed, tmp_path):
    memory.pipe("/packed/sizes.i64", (packed / "sizes.i64").read_bytes()[:-8] + bytes(8))
    with pytest.raises(DataError, match="damaged"):
        RemoteShards("memory://packed", tmp_path, PLENTY)
    memory.pipe("/packed/sizes.i64", (packed / "sizes.i64").read_bytes())
    assert RemoteShards("memory://packed", tmp_path, PLENTY).index["count"] == COUNT


@LOOPBACK
def test_a_server_that_falls_silent_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "1")
    remote = RemoteShards(server.url, tmp_path, PLENTY)
    server.silent.add("shard-000001.tar")
    with pytest.raises(ResourceError, match="timeout: nothing was received for 1 s") as caught:
        remote.locate(1)
    assert caught.value.where.endswith("/shard-000001.tar") and "--resume" in caught.value.next
    assert not list(remote.folder.glob("*shard-*.tar*"))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("memory://nothing", "cannot fetch packed images: FileNotFoundError"),
        ("wrong://host/folder", "packed images behind wrong:// cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_way_out(url, what, tmp_path):
    with pytest.raises((ResourceError, UsageError), match=what) as caught:
        RemoteShards(url, tmp_path, PLENTY)
    assert caught.value.where.startswith(url) and caught.value.next


def test_threads_fetch_a_shard_once(memory, packed, tmp_path, monkeypatch):
    remote, calls = RemoteShards("memory://packed", tmp_path, PLENTY), []
    real = remote._download
    monkeypatch.setattr(remote, "_download", lambda *given: calls.append(given) or real(*given))
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: remote.locate(3), range(4)))
    assert len(paths) == 1 and len(calls) == 1


FETCH = """
import sys
from pathlib import Path
from ssl_seg.data.shards import remote
real, count = remote.RemoteShards._download, 0
def download(self, name, path):
    global count
    count += name.endswith(".tar")
    return real(self, name, path)
remote.RemoteShards._download = download
shards = remote.RemoteShards(sys.argv[1], Path(sys.argv[2]), 1 << 30)
for number in range(len(shards.index["shards"])):
    shards.locate(number)
print(count)
"""


def test_processes_share_what_they_fetch(packed, tmp_path):
    words = [sys.executable, "-c", FETCH, f"file://{packed}", str(tmp_path)]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(child.communicate(timeout=120)[0]) for child in children]
    assert sum(counts) == len(list(packed.glob("*.tar"))), counts
    (folder,) = (path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    for path in packed.glob("*.tar"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_run_from_a_url_is_that_of_the_folder(cli, packed, tmp_path):
    short = ["--ssl", "simclr", "--backbone", "test_resnet", "--image-size", 16, "--batch-size", 8, "--cpu"]
    shutil.copytree(packed, tmp_path / "there")
    url = f"shards:file://{tmp_path / 'there'}"
    weights = []
    for name, data in (("here", f"shards:{packed}"), ("url", url)):
        code, _, err = cli("train", data, *short, "--epochs", 1, "--out", tmp_path / name)
        assert code == 0, err
        weights.append((tmp_path / name / "backbone.safetensors").read_bytes())
    assert weights[0] == weights[1]
