"""Safetensors files whose header lies: about names, types, ranges, offsets and lengths."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIGEST = "ssl_seg.digest"  # without it a file counts as one of an earlier version

NAMES = (
    *(
        "evil.py:Net",
        "./evil.py:Net",
        "{place}/evil.py:Net",
        "../evil.py:Net",
        "evil.py:run",
        "~/evil.py:Net",
    ),
    *(
        "evil",
        "evil.run",
        "evil:run",
        "os.system",
        "builtins.exec",
        "__reduce__",
        "__import__('os')",
        "evil.PY:Net",
    ),
    *(
        "hf-hub:evil/evil",
        "local-dir:.",
        "file:evil.py",
        "timm/../evil",
        "http://127.0.0.1/x",
        "$(touch marker)",
    ),
    *(
        "`touch marker`",
        "tiny; touch marker",
        "tiny\n",
        "",
        "\x00",
        "tiny\x1b[31m",
        "x" * 5000,
        "tiny ",
        "tiny.Net",  # "Tiny" is tiny: names have no case
    ),
)
_NUMBERS = (None, "16", 0, -1, 1.5, True, [], {}, 10**9, 2**63, 2**200)
_THREES = (
    None,
    "x",
    0.5,
    [],
    [0.5],
    [0.5, 0.5],
    [0.5] * 4,
    ["a", "b", "c"],
    [None] * 3,
    [1e30] * 3,
    {"0": 1},
    [[0.5]] * 3,
)
VALUES: dict[str, tuple[Any, ...]] = {
    "image_size": _NUMBERS,
    "mean": _THREES,
    "std": (*_THREES, [0, 0, 0], [-1, 1, 1], [1, 0.0, 1]),
    "backbone": (None, 3, [], {}, ["tiny"], True),
    "options": ("x", 3, [], [["a", 1]], {"nope": 1}, {"a": {"b": 1}}, {"": 1}, {"a" * 3000: 1}),
    "head": (None, 3, [], {}),
    "head_options": ("x", 3, {"nope": 1}, {"a": {"b": {}}}),
    "classes": (
        None,
        "abc",
        3,
        [],
        {},
        [1, 2, 3],
        ["a", None, "c"],
        [["a"], "b", "c"],
        ["a", "b"],
        ["a"] * 4,
    ),
    "task": (None, "x", 3, [], "os.system"),
}


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the numbers of a file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def written(header: dict[str, Any] | bytes, numbers: bytes, length: int | None = None) -> bytes:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + numbers


def says(path: Path, **changed: Any) -> bytes:
    """The file, saying other things of itself."""
    header, numbers = read(path)
    texts = header["__metadata__"]
    texts.pop(DIGEST, None)
    texts["about"] = json.dumps(json.loads(texts["about"]) | changed)
    return written(header, numbers)


def lies(path: Path) -> Iterator[tuple[str, bytes]]:
    """The file with one thing wrong in its structure, in many ways."""
    header, numbers = read(path)
    header["__metadata__"].pop(DIGEST, None)
    name = next(name for name, entry in header.items() if "weight" in name and len(entry["shape"]) == 4)
    for length in (0, 1, 2**31, 2**63, 2**64 - 1, len(json.dumps(header)) - 1, len(json.dumps(header)) + 1):
        yield f"a header of {length} bytes", written(header, numbers, length)
    for text in (
        b"",
        b"[]",
        b"{",
        b"null",
        b"3",
        b'{"a":' * 20000,
        b"\xff" * 100,
        b'{"__metadata__":{}}',
        b"{}",
    ):
        yield f"the header {text[:20]!r}", written(text, numbers)
    for what, entry in _entries(header[name], len(numbers)).items():
        yield what, written({**header, name: entry}, numbers)
    for what, metadata in _METADATA.items():
        yield f"metadata {what}", written({**header, "__metadata__": metadata}, numbers)
    twice = json.dumps(header)[:-1] + f', "{name}": {json.dumps(_moved(header[name]))}}}'
    yield "a tensor twice", written(twice.encode(), numbers)
    yield "a tensor less", written({key: entry for key, entry in header.items() if key != name}, numbers)
    yield (
        "a tensor of another name",
        written({f"{key}x" * (key == name) or key: e for key, e in header.items()}, numbers),
    )
    yield "trailing bytes", written(header, numbers + b"x" * 100)
    yield "fewer numbers", written(header, numbers[:-4])
    begin, end = header[name]["data_offsets"]
    for what, value in (("NaN", float("nan")), ("inf", float("inf")), ("-inf", float("-inf"))):
        bad = struct.pack("<f", value)
        yield (
            f"a weight {what}",
            written(header, numbers[:begin] + bad + numbers[begin + 4 : end] + numbers[end:]),
        )


def _moved(right: dict[str, Any]) -> dict[str, Any]:
    begin, end = right["data_offsets"]
    return right | {"data_offsets": [begin + 4, end + 4]}


def _entries(right: dict[str, Any], size: int) -> dict[str, Any]:
    """What a header can say wrongly of a tensor."""
    begin, end = right["data_offsets"]
    return {
        "no entry": None,
        "an empty entry": {},
        "no dtype": {key: value for key, value in right.items() if key != "dtype"},
        "a dtype that is none": right | {"dtype": "PICKLE"},
        "a dtype that is a list": right | {"dtype": ["F32"]},
        "whole numbers": right | {"dtype": "I32"},
        "half the size": right | {"dtype": "F16"},
        "a negative shape": right | {"shape": [-1, *right["shape"][1:]]},
        "a huge shape": right | {"shape": [2**62, 4]},
        "a shape that overflows": right | {"shape": [2**32, 2**32, 4]},
        "no shape": right | {"shape": []},
        "a shape of texts": right | {"shape": ["8", "3", "3", "3"]},
        "another shape": right | {"shape": right["shape"][::-1]},
        "offsets the wrong way": right | {"data_offsets": [end, begin]},
        "offsets past the end": right | {"data_offsets": [begin + size, end + size]},
        "negative offsets": right | {"data_offsets": [-4, end - begin - 4]},
        "offsets that overlap": _moved(right),
        "one offset": right | {"data_offsets": [begin]},
        "offsets of texts": right | {"data_offsets": [str(begin), str(end)]},
        "huge offsets": right | {"data_offsets": [2**63, 2**63 + end - begin]},
    }


_METADATA = {
    "a list": [],
    "of numbers": {"format": 1},
    "of tables": {"format": {}},
    "a text": "x",
    "about no JSON": {"format": "ssl-seg backbone 1", "about": "{"},
    "about a list": {"format": "ssl-seg backbone 1", "about": "[]"},
    "about nothing": {"format": "ssl-seg backbone 1"},
    "about NaN": {"format": "ssl-seg backbone 1", "about": '{"image_size": NaN}'},
    "deep": {"format": "ssl-seg backbone 1", "about": "[" * 100_000},
    "of a later version": {"format": "ssl-seg backbone 99", "about": "{}"},
    "twice": {"format": "ssl-seg backbone 1", "about": '{"backbone": "tiny", "backbone": "evil.py:Net"}'},
    "a wrong digest": {"format": "ssl-seg backbone 1", "about": "{}", DIGEST: "ssl-seg-sha256:00"},
}
