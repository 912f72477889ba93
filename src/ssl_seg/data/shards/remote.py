"""Packed images behind a URL: the index is fetched at the start, shards when they are first read.

Files come through `fsspec` into a folder of the cache, each whole, checked and then renamed, so that processes share
them. When the shards in the cache exceed its size, those that were used longest ago are removed.

shards/room.lock     held while room is made
shards/URL.json      hash of a URL: the newest index there
shards/URL-INDEX/    a set of shards
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from ssl_seg.data.column import Column
from ssl_seg.data.shards.order import WINDOW
from ssl_seg.data.shards.pack_index import FILES, NAME, read_pack_index
from ssl_seg.errors import DataError, ResourceError, SslSegError, UsageError
from ssl_seg.utils.files import atomic_path, discard, total_size
from ssl_seg.utils.lock import sign, signature, try_lock
from ssl_seg.utils.text import size_text
from ssl_seg.utils.timeout import StallDetector, timeout_seconds
from ssl_seg.utils.toml import read_json

_ATTEMPTS = 3
_POLL_SECONDS = 0.2
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_url(root: str) -> bool:
    """Whether packed images are behind a URL and not in a folder."""
    return "://" in root


class RemoteShards:
    """A set of shards behind a URL, as files in the cache.

    Args:
        url: of their folder, as fsspec has it.
        cache: the folder of all caches.
        max_bytes: of all fetched shards together.

    Attributes:
        folder: with the index of the set; of the shards only those that were fetched are there.
        index: content of `index.json`.

    Raises:
        UsageError: no such protocol, or the cache is smaller than the shards that training mixes.
        DataError: no packed images there, or damaged ones. ResourceError: they cannot be fetched.
    """

    def __init__(self, url: str, cache: Path, max_bytes: int) -> None:
        self.url, self._root, self._max_bytes = url.rstrip("/"), cache / "shards", max_bytes
        self._files, self._path = _file_system(self.url)
        name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        newest = self._root / f"{name}.json"
        self._fetch(NAME, newest)
        try:
            digest = str(read_json(newest)["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                "no index of packed images",
                where=f"{self.url}/{NAME}",
                next="ssl-seg pack DATA --out FOLDER; then upload the folder",
            ) from error
        self.folder = self._root / f"{name}-{hashlib.sha256(digest.encode()).hexdigest()[:16]}"
        for each in (*FILES, NAME):
            if not (self.folder / each).exists():
                self._fetch(each, self.folder / each)
        try:
            self.index = read_pack_index(self.folder, with_shards=False)
        except DataError:
            for each in (*FILES, NAME):  # what was damaged on its way is fetched again at the next start
                discard(self.folder / each)
            raise
        sizes = sorted((shard["bytes"] for shard in self.index["shards"]), reverse=True)
        if (need := sum(sizes[:WINDOW])) > max_bytes:
            raise UsageError(
                f"training mixes shards of {size_text(need)}, but the cache may hold {size_text(max_bytes)}",
                where=self.url,
                next=f"-o data.cache_gib={need / 2**30 * 1.25:.3g}  # or smaller shards: ssl-seg pack --shard-size",
            )

    def locate(self, number: int) -> Path:
        """The file of a shard, which is fetched if it is not there.

        Raises:
            ResourceError: it cannot be fetched, or is damaged there.
        """
        shard = self.index["shards"][number]
        path, idle = self.folder / str(shard["name"]), StallDetector(_POLL_SECONDS)
        (self.folder / ".locks").mkdir(exist_ok=True)
        while not path.exists():
            with (self.folder / ".locks" / path.stem).open("a+") as lock:
                if try_lock(lock, seconds=_POLL_SECONDS):
                    sign(lock)
                    if not path.exists():
                        self._make_room(shard["bytes"])
                        self._fetch(shard["name"], path, lambda found: self._damage(number, found))
                elif idle.is_stalled(total_size(self.folder.glob(".shard-*"))):
                    raise ResourceError(
                        f"timeout: another process has fetched nothing for {timeout_seconds():.0f} s",
                        where=f"{self.url}/{shard['name']}, fetched by {signature(lock)}",
                        next="stop that process; then run the command again",
                    )
        with suppress(OSError):
            os.utime(path)  # when it was used
        return path

    def _make_room(self, need: int) -> None:
        """Remove the shards, of any set, that were used longest ago; readers that have one open keep it."""
        with (self._root / "room.lock").open("a+") as lock:
            if not try_lock(lock, seconds=timeout_seconds()):
                raise ResourceError("timeout: another process makes room in the cache", where=signature(lock))
            used = []
            for path in self._root.glob("*/shard-*.tar"):
                with suppress(OSError):
                    used.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            num_bytes = sum(size for _, size, _ in used) + total_size(self._root.glob("*/.shard-*"))
            for _, size, path in sorted(used):
                if num_bytes + need <= self._max_bytes:
                    break
                discard(path)
                num_bytes -= size

    def _damage(self, number: int, path: Path) -> str:
        """What is wrong with a shard, by the index: its length, and the CRC-32 of every member."""
        shards = self.index["shards"]
        if (size := path.stat().st_size) != shards[number]["bytes"]:
            return f"{size:,} bytes instead of {shards[number]['bytes']:,}"
        first = sum(shard["count"] for shard in shards[:number])
        members = Column(self.folder / "members.i64", self.index["count"], (7,), torch.int64)
        with path.open("rb") as file:
            for row in members.mapped[first : first + shards[number]["count"]].tolist():
                for offset, length, crc in (row[1:4], row[4:7]):
                    file.seek(offset)
                    if zlib.crc32(file.read(length)) != crc:
                        return f"checksum mismatch, bytes {offset:,} to {offset + length:,}"
        return ""

    def _fetch(self, name: str, path: Path, damage: Callable[[Path], str] = lambda found: "") -> None:
        """Fetch a file whole; it has its name only if nothing is wrong with it.

        Raises:
            ResourceError: it cannot be fetched, without progress for the timeout, or is damaged there.
        """
        trouble = ""
        for _ in range(_ATTEMPTS):
            with suppress(_Failed), atomic_path(path) as aside:
                trouble = self._download(name, aside) or damage(aside)
                if trouble:
                    raise _Failed
            if not trouble:
                return
        raise ResourceError(
            f"cannot fetch packed images: {trouble}",
            where=f"{self.url}/{name}",
            next="check the address and the network; a run resumes with --resume",
        )

    def _download(self, name: str, path: Path) -> str:
        """Fetch into a file, in a thread that is left behind when nothing comes any more; what went wrong."""
        result: list[str] = []

        def work() -> None:
            try:
                self._files.get_file(f"{self._path}/{name}", str(path))
                result.append("")
            except Exception as error:  # each file system raises its own
                text = " ".join(str(error).split())
                result.append(f"{type(error).__name__}: {text}" if text else type(error).__name__)

        thread, idle = Thread(target=work, name="ssl-seg-fetch", daemon=True), StallDetector(_POLL_SECONDS)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if thread.is_alive() and idle.is_stalled(total_size([path])):
                raise ResourceError(
                    f"timeout: nothing was received for {timeout_seconds():.0f} s",
                    where=f"{self.url}/{name}",
                    next="check the address and the network; a run resumes with --resume",
                )
        return result[0]


class _Failed(Exception):
    """A file must not get its name."""


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        UsageError: its package is not installed, or there is no such protocol.
    """
    import fsspec  # a dependency of torch

    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        files, path = fsspec.core.url_to_fs(url)
    except SslSegError:
        raise
    except Exception as error:  # ImportError, ValueError, and what a file system raises
        package = _PACKAGES.get(protocol, "'ssl-seg[http]'" if protocol.startswith("http") else "fsspec")
        raise UsageError(
            f"packed images behind {protocol}:// cannot be read: {error}",
            where=url,
            next=f"pip install {package}",
        ) from error
    return files, str(path).rstrip("/")
