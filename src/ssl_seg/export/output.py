"""Files and folders that are there whole, or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ssl_seg.errors import OccupiedError, ResourceError
from ssl_seg.utils.files import atomic_path
from ssl_seg.weights.backbone_file import FORMAT


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it gets its name when the block ends well.

    Raises:
        OccupiedError: something is there already.
        ResourceError: it cannot be written.
    """
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OccupiedError(f"{path} is there already", next="another --out, or remove it first")
    with atomic_path(path) as aside:
        yield aside


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """A safetensors file of a backbone, whose header says what it is: `--init` reads it.

    Raises:
        ResourceError: it cannot be written.
    """
    # a tensor with two names becomes two: safetensors refuses tensors that share memory
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(own, path, metadata={"format": FORMAT, "about": json.dumps(dict(about))})
    except Exception as error:  # safetensors raises its own kind for a full disk
        raise ResourceError(f"cannot write {path.name}: {error}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file in ASCII, for readers of any encoding."""
    path.write_text(json.dumps(values, indent=2) + "\n")
