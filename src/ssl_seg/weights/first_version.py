"""Files of version 0.1.0: what their networks had that those of later versions have not."""

from collections.abc import Mapping
from typing import Any

MARK = "untrained"  # in a header: names of the tensors that no feature map comes from; 0.1.0 has no such key


def untrained_in(backbone: Any) -> list[str]:
    """Names of a backbone's tensors that no feature map comes from."""
    own = backbone.state_dict()
    return [name for name in getattr(backbone, "idle", ()) if name in own]


def as_it_was(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which a backbone of version 0.1.0 is made as it was then.

    Its EfficientNets end with the last stage, of many networks it kept layers that never learn, and a
    transformer's class token was not used.
    """
    from ssl_seg.backbones.timm import early_options

    return {**options, **early_options(name, options)}
