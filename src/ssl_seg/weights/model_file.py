"""A backbone with its head as one file that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from ssl_seg.base import Model
from ssl_seg.errors import WeightsError
from ssl_seg.weights.state_dict import write_module

FORMAT = "ssl-seg model 1"


def save_model(path: Path, model: Model, about: Mapping[str, Any]) -> None:
    """Write the weights, with `about` (parts, options, classes, image size, normalisation) in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
    """
    write_module(path, model, FORMAT, about)


def read_model_about(path: Path) -> dict[str, Any]:
    """What the header of a model file says.

    Raises:
        WeightsError: no such file, or not a model of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except Exception as error:
        raise WeightsError(f"cannot read the model: {error}", where=str(path)) from error
    if header.get("format") != FORMAT:
        raise WeightsError("not a model file of ssl-seg", where=str(path))
    about: dict[str, Any] = json.loads(header["about"])
    return about


def load_model(path: Path, model: Model) -> None:
    """Load all weights of a model.

    Raises:
        WeightsError: the file does not hold exactly the tensors of the model.
    """
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit the model: {error}", where=str(path)) from error
