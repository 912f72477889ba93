"""Lengths and digests of the files of an image cache: written with it, checked whenever it is opened.

`index.json` holds the length of every file, the digest of every small one, and a digest of itself. Pixels are
summed up in blocks; the digests of the blocks are a small file beside them. Of a file of many blocks some
are checked, others each time.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ssl_seg.utils.toml import read_json

BLOCK = 4 << 20  # bytes
_CHECKED = 32  # blocks of a file, when it is opened
_DIGEST = 16  # bytes


class BlockSums:
    """Writes bytes into a file, and the digests of its blocks into another when it is closed.

    Args:
        file: gets the bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sums = file, bytearray()
        self._block, self._room = _hash(), BLOCK

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        self._file.write(data)
        rest = memoryview(data)
        while rest:
            part, rest = rest[: self._room], rest[self._room :]
            self._block.update(part)
            self._room -= len(part)
            if not self._room:
                self._end_block()

    def sums(self) -> bytes:
        """The digests of all blocks; nothing can be written any more."""
        if self._room < BLOCK:
            self._end_block()
        return bytes(self._sums)

    def _end_block(self) -> None:
        self._sums += self._block.digest()
        self._block, self._room = _hash(), BLOCK


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Write `index.json`, with lengths and digests of all files that lie in the folder."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = {"size": path.stat().st_size}
        if path.suffix != ".u8":
            files[path.name]["digest"] = _hash(path.read_bytes()).hexdigest()
    whole = {**index, "files": files}
    whole["digest"] = index_digest(whole)
    (folder / "index.json").write_text(json.dumps(whole))


def damage(folder: Path) -> str:
    """Which file of a cache is not what was written, and why; empty when none is."""
    try:
        index = read_json(folder / "index.json")
        if index.pop("digest", None) != index_digest(index):
            return "index.json: digest mismatch"
        for name, known in index["files"].items():
            if trouble := _damage_of(folder / name, known):
                return f"{name}: {trouble}"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"index.json: {error}"
    return ""


def _damage_of(path: Path, known: Mapping[str, Any]) -> str:
    size = path.stat().st_size
    if size != known["size"]:
        return f"{size} bytes instead of {known['size']}"
    if "digest" in known:
        return "" if _hash(path.read_bytes()).hexdigest() == known["digest"] else "digest mismatch"
    sums = path.with_suffix(".sums").read_bytes()
    with path.open("rb") as file:
        for block in _some(len(sums) // _DIGEST):
            file.seek(block * BLOCK)
            if _hash(file.read(BLOCK)).digest() != sums[_DIGEST * block : _DIGEST * (block + 1)]:
                return f"digest mismatch from byte {block * BLOCK:,} on"
    return ""


def _some(blocks: int) -> list[int]:
    """Which blocks are checked: all, or both ends and others by chance, in their order."""
    if blocks <= _CHECKED:
        return list(range(blocks))
    inner = random.Random().sample(range(1, blocks - 1), _CHECKED - 2)
    return [0, *sorted(inner), blocks - 1]


def index_digest(index: Mapping[str, Any]) -> str:
    """The digest of an `index.json`, which is stored in it."""
    return _hash(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _hash(data: bytes = b"") -> "hashlib.blake2b":
    return hashlib.blake2b(data, digest_size=_DIGEST)
