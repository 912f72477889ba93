"""Protections that can be removed, one by one, in a child: a campaign must notice that they are gone."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.traps import owner_of

_REMOVED: dict[str, Callable[[], None]] = {}


def names() -> list[str]:
    """Of all protections that can be removed."""
    return list(_REMOVED)


def remove(name: str) -> None:
    """Take one protection away, in this process."""
    _REMOVED[name]()


def _removes(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def note(function: Callable[[], None]) -> Callable[[], None]:
        _REMOVED[name] = function
        return function

    return note


def put(path: str, value: Any) -> Any:
    """Put something in the place of what a dotted path names, wherever the library has imported it.

    Returns:
        What was there.
    """
    owner, name = owner_of(path)
    before = getattr(owner, name)
    setattr(owner, name, value)
    for module in [each for key, each in sys.modules.items() if key.startswith("ssl_seg")]:
        if vars(module).get(name) is before:
            setattr(module, name, value)
    return before


@_removes("no generators")
def _() -> None:
    """A resumed run draws other random numbers."""
    put("ssl_seg.weights.state_dict.set_rng_state", lambda tensors: None)


@_removes("no optimizer")
def _() -> None:
    """A resumed run has an optimizer that has seen nothing."""
    put("ssl_seg.weights.state_dict.load_optimizer_state", lambda optimizer, tensors, path: None)


@_removes("old scores stay")
def _() -> None:
    """Rows of epochs that are done again stay."""
    put("ssl_seg.engine.run_dir.Run.restore", lambda self, scores, step: None)


@_removes("a step too many")
def _() -> None:
    """A checkpoint says that one step less was done."""
    real: Any = None

    def load(path: Path, *given: Any) -> Mapping[str, Any]:
        state = dict(real(path, *given))
        return state | {"step": max(0, state["step"] - 1)}

    real = put("ssl_seg.engine.checkpoint_manager.load_checkpoint", load)


@_removes("unverified")
def _unverified() -> None:
    """Checkpoints are taken for whole."""
    put("ssl_seg.weights.checkpoint_files.verify", lambda *given: "")


@contextmanager
def _in_place(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path


@_removes("written in place, unverified")
def _() -> None:
    """Checkpoints are written under their final name, and taken for whole."""
    put("ssl_seg.weights.checkpoint.atomic_path", _in_place)
    _unverified()


@_removes("written in place")
def _() -> None:
    """Files are written under their final names."""
    put("ssl_seg.utils.files.atomic_path", _in_place)


@_removes("raw TOML errors")
def _() -> None:
    """What the parser of TOML raises goes through."""
    import tomllib

    put("ssl_seg.utils.toml.read_toml", lambda path: tomllib.loads(path.read_text()))


@_removes("cut images are filled up")
def _() -> None:
    """Pillow fills up what is missing in a file."""
    from types import SimpleNamespace

    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    put("ssl_seg.data.decode.ImageFile", SimpleNamespace())
    put("ssl_seg.data.image_file.check_whole", lambda file: None)


@_removes("pickles are read whole")
def _() -> None:
    """Weight files are unpickled with whatever is in them."""
    import torch

    real = torch.load
    torch.load = lambda *given, **named: real(*given, **{**named, "weights_only": False})  # type: ignore[assignment]


@_removes("names in files are believed")
def _() -> None:
    """What a file names is looked up as if a person had typed it."""
    put("ssl_seg.utils.code_names.refuse_code", lambda name, kind: None)


@_removes("plugins are loaded unguarded")
def _() -> None:
    """A plugin that cannot be loaded takes the command with it."""
    import importlib.metadata

    def entry_points(group: str, refuse: Any, **how: Any) -> list[Any]:
        found = importlib.metadata.entry_points(group=group)
        for point in found:
            point.load()
        return []

    put("ssl_seg.utils.entry_points.iter_entry_points", entry_points)
