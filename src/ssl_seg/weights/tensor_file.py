"""The safetensors files that this library writes: equal tensors are equal bytes, and a digest guards them.

The library `safetensors` writes the texts of a header in random order, and holds no sum of what follows.
Here they are sorted, and one of them is a SHA-256 of all the others, of the names, types and shapes of the
tensors, and of their numbers. It survives whatever rewrites the file without changing any of these. To
other readers it is one more text in the header.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ssl_seg.utils.toml import parse_json

DIGEST = "ssl_seg.digest"
_MARK = "ssl-seg-sha256:"  # a damaged key does not make a file one without a digest
_PART = 1 << 20

Part = Callable[[int, int], Iterator[bytes | memoryview]]


def encode(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """A whole safetensors file.

    Args:
        tensors: contiguous, on the CPU, none sharing memory with another.
        texts: of the header.
    """
    written = memoryview(save(dict(tensors)))
    start = 8 + int.from_bytes(written[:8], "little")
    entries = parse_json(bytes(written[8:start]))
    numbers = written[start:]
    metadata = {
        **texts,
        DIGEST: _MARK + _digest(texts, entries, lambda begin, end: iter([numbers[begin:end]])),
    }
    header = json.dumps(
        {"__metadata__": dict(sorted(metadata.items())), **entries}, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)  # the numbers are aligned, as the library does it
    return b"".join([len(header).to_bytes(8, "little"), header, numbers])


def damage(file: Path) -> str:
    """What is wrong with a file that carries a digest; empty when nothing is, or when it carries none.

    Args:
        file: the library `safetensors` opens it.

    Raises:
        OSError, ValueError, KeyError: it cannot be read after all.
    """
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        entries = parse_json(opened.read(start - 8))
        texts: dict[str, str] = entries.pop("__metadata__", None) or {}
        marked = [key for key, text in texts.items() if key == DIGEST or text.startswith(_MARK)]

        def part(begin: int, end: int) -> Iterator[bytes]:
            opened.seek(start + begin)
            for offset in range(begin, end, _PART):
                yield opened.read(min(_PART, end - offset))

        if not marked:
            return ""
        others = {key: text for key, text in texts.items() if key != DIGEST}
        same = texts.get(DIGEST) == _MARK + _digest(others, entries, part) and marked == [DIGEST]
    return "" if same else f"digest mismatch; if the change was intended, remove {DIGEST!r} from the header"


def _digest(texts: Mapping[str, str], entries: Mapping[str, Any], part: Part) -> str:
    """SHA-256 over the header's texts, then each tensor by its name: name, type, shape, numbers."""
    found = hashlib.sha256(json.dumps(sorted(texts.items())).encode())
    for name in sorted(entries):
        entry = entries[name]
        found.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
        for piece in part(*entry["data_offsets"]):
            found.update(piece)
    return found.hexdigest()
