"""Named tensors out of a weight file of any make; nothing that a file holds is ever run.

A torch file is a pickle, and a pickle can call functions. Only `torch.load(weights_only=True)` opens
one. Settings that training scripts save beside the tensors are put aside unread.
"""

import re
import warnings
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor

from ssl_seg.errors import SslSegError, WeightsError
from ssl_seg.utils.files import similar_name
from ssl_seg.utils.toml import read_toml
from ssl_seg.weights.checkpoint_files import latest_checkpoint_name, verify
from ssl_seg.weights.tensor_file import damage

_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # with what torch.save began before it wrote zip files
_SETTINGS = {  # what training scripts save beside the tensors, as far as it is data
    "argparse": ["Namespace"],
    "builtins": ["bool", "dict", "float", "frozenset", "int", "list", "range", "slice", "str", "tuple"],
    "datetime": ["date", "datetime", "timedelta"],
    "numpy": ["dtype", "ndarray"],
    "numpy._core.multiarray": ["_reconstruct", "scalar"],
    "numpy.core.multiarray": ["_reconstruct", "scalar"],
    "omegaconf.base": ["ContainerMetadata", "Metadata"],
    "omegaconf.dictconfig": ["DictConfig"],
    "omegaconf.listconfig": ["ListConfig"],
    "omegaconf.nodes": ["AnyNode"],
    "pathlib": ["PosixPath", "WindowsPath"],
    "pathlib._local": ["PosixPath", "WindowsPath"],
    "types": ["SimpleNamespace"],
    "typing": ["Any"],
}
_SAVE_TENSORS = "where it was made: torch.save(model.state_dict(), 'weights.pt')"


class _IgnoredObject:
    """Stands in for an object of a training script: takes anything, keeps nothing, calls nothing."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _empty_dict(*_: object) -> dict[Any, Any]:
    return {}


def resolve_weight_file(path: Path) -> Path:
    """The weight file that a path means: itself, or what a run's or a checkpoint's folder holds.

    Raises:
        WeightsError: there is none.
    """
    try:
        if path.is_dir():
            return _file_of(path)
        if path.is_file():
            return path
        if path.exists():
            raise WeightsError("cannot read weights: not a regular file", where=str(path))
    except OSError as error:
        raise WeightsError(f"cannot read weights: {error.strerror}", where=str(path)) from error
    raise WeightsError(f"cannot read weights: file not found{similar_name(path)}", where=str(path))


def _file_of(folder: Path) -> Path:
    for name in ("backbone.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            trouble = verify(folder) if (folder / "manifest.json").exists() else ""
            if trouble:
                raise WeightsError(
                    f"cannot read weights: the checkpoint is corrupt: {trouble}", where=str(folder)
                )
            return folder / name
    if (folder / "run.toml").exists():
        raise WeightsError(
            "the run has not finished: no backbone.safetensors yet",
            where=str(folder),
            kept=latest_checkpoint_name(folder / "checkpoints"),
            next=f"ssl-seg {_command_of(folder)} --resume --out {folder}",
        )
    raise WeightsError(
        "no weights in the folder: neither backbone.safetensors nor model.safetensors",
        where=str(folder),
        next="give the path of the file",
    )


def _command_of(run: Path) -> str:
    with suppress(SslSegError, AttributeError):  # a damaged run.toml is told of by --resume itself
        return str(read_toml(run / "run.toml").get("record", {}).get("command", "train"))
    return "train"


def read_header(file: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file; empty for a torch file, which has none.

    The whole file is held against the digest in the header, if there is one.

    Raises:
        WeightsError: it is neither, or damaged.
    """
    return _read_safetensors(file, tensors=False)[1] if _kind_of(file) == "safetensors" else {}


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All named tensors of a file on the CPU, and the texts in its header.

    Nested mappings become prefixes: `{"state_dict": {"a.weight": ...}}` is `state_dict.a.weight`. What
    an optimizer remembers is left out.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or holds no tensors, or objects
            with code.
    """
    if _kind_of(file) == "safetensors":
        tensors, header = _read_safetensors(file, tensors=True)
    else:
        tensors, header = _flat(_read_torch(file)), {}
    if not tensors:
        raise WeightsError(
            "cannot read weights: the file contains no named tensors", where=str(file), next=_SAVE_TENSORS
        )
    return tensors, header


def _kind_of(file: Path) -> str:
    """By what the file begins with; names lie."""
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise WeightsError(f"cannot read weights: {error.strerror}", where=str(file)) from error
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(b"PK\x03\x04") or _MAGIC in start[:64]:
        return "torch"
    what, next_step = f"neither a safetensors nor a torch.save file; it begins with {start[:16]!r}", None
    if not start:
        what = "the file is empty"
    elif start.startswith(b"version https://git-lfs"):
        what, next_step = "it is a Git LFS pointer", "git lfs pull"
    elif start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        what, next_step = "it is a web page", "download it from the direct link of the file"
    elif start.startswith((b"\x1f\x8b", b"BZh", b"7z", b"\xfd7zXZ")) or start[257:262] == b"ustar":
        what, next_step = "it is an archive", "unpack it and give the path of the file"
    elif start.startswith(b"\x80"):
        what, next_step = "it is a pickle, which can execute code; it was not opened", _SAVE_TENSORS
    raise WeightsError(f"cannot read weights: {what}", where=str(file), next=next_step)


def _read_safetensors(file: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            if trouble := damage(file):
                raise ValueError(trouble)
            names = opened.keys() if tensors else []
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except Exception as error:  # safetensors raises its own kind
        raise unusable(file, f"file is corrupt or truncated ({error})") from error


def unusable(file: Path, why: str) -> WeightsError:
    """What is said of a weight file that is not what was written, and the way out."""
    what, run = f"cannot read weights: {why}", file.parent
    if not (run / "run.toml").is_file():
        return WeightsError(what, where=str(file), next="get the file again from its source")
    kept = latest_checkpoint_name(run / "checkpoints")
    if file.name == "best.safetensors":
        way = "--which last  # the best epoch is stored only in this file"
    elif kept:
        way = f"ssl-seg {_command_of(run)} --resume --out {run}  # restores it from the checkpoint"
    else:
        way = "train again with another --out: the run has no valid checkpoint"
    return WeightsError(what, where=str(file), kept=kept, next=way)


def _read_torch(file: Path) -> Any:
    unread = [(_IgnoredObject, f"{module}.{name}") for module, names in _SETTINGS.items() for name in names]
    try:
        with (
            file.open("rb") as opened,
            warnings.catch_warnings(),
            torch.serialization.safe_globals([*unread, (_empty_dict, "collections.defaultdict")]),
        ):
            warnings.simplefilter("ignore")  # about how it was saved, which nobody here can change
            # torch maps a zip file only by its path, and takes the ending of a path at its word
            mapped = opened.read(2) == b"PK" and file.suffix != ".safetensors"
            opened.seek(0)
            return torch.load(file if mapped else opened, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds for a file that is not in order
        text = str(error)
        found = re.search(r"GLOBAL ([\w.]+)", text)
        objects = f"objects ({found[1]})" if found else "a program" if "TorchScript" in text else ""
        if objects:
            raise WeightsError(
                f"cannot read weights: file contains {objects} besides tensors; nothing was executed",
                where=str(file),
                next=_SAVE_TENSORS,
            ) from error
        reason = text.split("WeightsUnpickler error:")[-1].strip().split("\n")[0].split(". ")[0]
        raise WeightsError(
            "cannot read weights: file is corrupt, truncated, or not written by torch.save"
            f" ({reason or type(error).__name__})",
            where=str(file),
        ) from error


def _flat(content: Any) -> dict[str, Tensor]:
    """The tensors in nested mappings under names joined by dots; outer ones first."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()  # a pickle may hold one mapping twice, or a circle
    todo = deque([("", content)])
    while todo:
        path, value = todo.popleft()
        if isinstance(value, Tensor):
            found[path] = value
        elif isinstance(value, Mapping) and id(value) not in seen and "param_groups" not in value:
            seen.add(id(value))
            inner = [(name, value[name]) for name in value if isinstance(name, str)]
            todo.extend(
                (f"{path}.{name}" if path else name, each)
                for name, each in inner
                if not name.startswith("optim")  # moments have the names and shapes of the weights
            )
    found.pop("", None)  # a tensor alone, without a name
    return found
