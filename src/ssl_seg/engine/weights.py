"""A trained backbone as one file that says what it is."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ssl_seg.base import Backbone
from ssl_seg.errors import ResourceError, WeightsError

FORMAT = "ssl-seg backbone 1"


def save_backbone(path: Path, backbone: Backbone, about: Mapping[str, Any]) -> None:
    """Write the weights, with `about` (name, options, image size, normalisation) in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
    """
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    # a tensor with two names becomes two: safetensors refuses tensors that share memory
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in backbone.state_dict().items()}
    try:
        save_file(tensors, aside, metadata={"format": FORMAT, "about": json.dumps(dict(about))})
        os.replace(aside, path)
    except Exception as error:  # safetensors raises its own kind for a full disk
        aside.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """What the header of a backbone file says.

    Raises:
        WeightsError: no such file, or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except Exception as error:
        raise WeightsError(f"cannot read weights: {error}", where=str(path)) from error
    if header.get("format") != FORMAT:
        raise WeightsError("not a backbone file of ssl-seg", where=str(path))
    about: dict[str, Any] = json.loads(header["about"])
    return about


def load_backbone(path: Path, backbone: Backbone) -> int:
    """Load weights into a backbone; all of them fit, or none is loaded.

    Returns:
        How many tensors were matched.

    Raises:
        WeightsError: a tensor is missing, left over, or of another shape.
    """
    read_about(path)
    tensors = load_file(path)
    own = backbone.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)
    if missing or extra or shapes:
        matched = len(own) - len(missing) - len(shapes)
        raise WeightsError(
            f"matched {matched} of {len(own)} tensors: {len(missing)} missing, "
            f"{len(extra)} left over, {len(shapes)} of another shape",
            where=f"{path}: {', '.join([*missing, *extra, *shapes][:4])}",
        )
    backbone.load_state_dict(tensors)
    return len(own)
