"""All that a run has left in its folder, in a form that can be compared bit for bit."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

# of a row of scores or a record of predictions; of the machine, not of the run
_TIMES = ("seconds", "seconds_per_image", "images_per_second", "energy_wh")
_ELSEWHERE = ("meter", "scores", "settings")  # of state.json: times, and what scores.jsonl and run.toml say
_PASSED_OVER = (".lock", "run.log", "manifest.json", "digests.json")


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in _TIMES}


def snapshot(folder: Path) -> dict[str, Any]:
    """What a finished folder holds, by file; of the checkpoints the newest counts.

    Times are left out, and what holds digests of them.
    """
    found: dict[str, Any] = {}
    newest = max((path.name for path in folder.glob("checkpoints/step-*")), default="")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("checkpoints/"):
            name = name.replace(f"checkpoints/{newest}", "checkpoints/newest")
            if name.startswith("checkpoints/step-"):
                continue
        if path.is_file() and path.name not in _PASSED_OVER:
            found[name] = contents(path)
    return found


def contents(path: Path) -> Any:
    """What one file says."""
    data = path.read_bytes()
    if path.suffix in (".html", ".md"):  # the hour at which a page was written is not what it says
        data = re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d", b"", data)
    try:
        if path.suffix == ".safetensors":
            return tensors(data)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {key: (str(file[key].dtype), file[key].shape, file[key].tobytes()) for key in file}
        if path.name == "scores.jsonl":
            rows = [json.loads(line) for line in data.decode().splitlines()]
            return list(map(_without_times, rows))
        if path.name == "state.json":
            return {key: value for key, value in json.loads(data).items() if key not in _ELSEWHERE}
        if path.suffix == ".json":
            return json.loads(data, object_hook=_without_times)
    except Exception as error:  # damaged: compared as it is
        return f"{type(error).__name__} {hashlib.sha256(data).hexdigest()}"
    return hashlib.sha256(data).hexdigest()


def tensors(data: bytes) -> dict[str, Any]:
    """The header and the tensors of a safetensors file, read without its library."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found: dict[str, Any] = {"__metadata__": header.pop("__metadata__", {})}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end]
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Which files differ, and how; empty if none does."""
    lines = [f"{name} is missing" for name in expected.keys() - found.keys()]
    lines += [f"{name} is left behind" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if expected[name] != found[name]:
            lines.append(f"{name} differs{_where(expected[name], found[name])}")
    return "; ".join(sorted(lines))


def _where(one: Any, two: Any) -> str:
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [key for key in one.keys() | two.keys() if one.get(key) != two.get(key)]
        return f" in {', '.join(sorted(map(str, keys))[:3])}"
    if isinstance(one, list) and isinstance(two, list):
        return f" ({len(one)} rows, {len(two)} found)" if len(one) != len(two) else ""
    return ""
