"""Tensors of a published file as timm's own loader reads them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.models import _builder
from torch import Tensor

from ssl_seg.base import Backbone
from ssl_seg.utils.log import log

# where timm would look for the file, which is read already
_SOURCES = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load")


@contextmanager
def _strict() -> Iterator[None]:
    """Of some families timm lets tensors be missing, which would stay random."""
    usual = _builder.load_pretrained
    _builder.load_pretrained = lambda *args, **options: usual(*args, **{**options, "strict": True})
    try:
        yield
    finally:
        _builder.load_pretrained = usual


def as_timm_loads(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], backbone: Backbone
) -> dict[str, Tensor]:
    """The tensors of timm's network once timm has loaded a file: renamed, and interpolated to other sizes.

    Args:
        tensors: of the file.
        config: what timm knows of the weights; a `PretrainedCfg` as a mapping.
        backbone: of timm, made for the image size that is wanted.

    Returns:
        The file's own tensors where timm refuses them: the hand-over says what differs.
    """
    name = config["architecture"]
    made, arguments = getattr(backbone, "timm_call", None) or ("", {})
    found = {key: value for key, value in config.items() if key not in _SOURCES and value is not None}
    # with all of its classes, because timm does not miss a tensor otherwise
    overlay = {**found, "state_dict": dict(tensors)}
    options: dict[str, Any] = {**(arguments if made == name else {}), "num_classes": config["num_classes"]}
    try:
        with torch.random.fork_rng(devices=[]), _strict():
            net = timm.create_model(name, pretrained=True, pretrained_cfg=overlay, **options)
    except Exception as error:  # each family of networks refuses in its own way
        log.debug("timm does not load the weights: %s", error)
        return dict(tensors)
    return dict(net.state_dict())
