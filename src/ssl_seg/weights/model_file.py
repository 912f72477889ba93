"""A backbone with its head as one file that says what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_seg.base import Model
from ssl_seg.errors import WeightsError
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.header import MODEL, values_of
from ssl_seg.weights.readers import read_header, read_tensors
from ssl_seg.weights.state_dict import write_tensors

FORMAT = "ssl-seg model 1"


def save_model(path: Path, model: Model, metadata: Mapping[str, Any]) -> None:
    """Write the weights, with `metadata` (parts, options, classes, image size, normalisation) in the header.

    Raises:
        ResourceError: the file cannot be written; the old one stays.
    """
    write_tensors(path, model.state_dict(), FORMAT, {**metadata, MARK: untrained_in(model.backbone)})


def read_model_metadata(path: Path) -> dict[str, Any]:
    """What the header of a model file says.

    Raises:
        WeightsError: no such file, not a model of ours, or a value that cannot be.
    """
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise WeightsError("not a model file of ssl-seg", where=str(path))
    return values_of(header, path, MODEL)


def load_model(path: Path, model: Model) -> None:
    """Load all weights of a model.

    Raises:
        WeightsError: the file does not hold exactly the tensors of the model.
    """
    tensors, _ = read_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not match the model: {error}", where=str(path)) from error
