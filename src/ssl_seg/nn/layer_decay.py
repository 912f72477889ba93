"""Learning rates that fall from the head to the first layer of a backbone."""

from typing import Any

from ssl_seg.base import Backbone
from ssl_seg.errors import UsageError


def layer_lr_scales(backbone: Backbone, decay: float) -> dict[str, float]:
    """Factor on the learning rate of each parameter of a backbone: `decay` to the power of the layers above it.

    As BEiT and MAE fine-tune transformers (Bao et al. 2022, arXiv:2106.08254): the head and the last norm have 1, the last
    block `decay`, the patch embedding the least. timm says which parameters form a layer.

    Args:
        backbone: of timm.
        decay: in (0, 1].

    Returns:
        Names as in `backbone.named_parameters()`.

    Raises:
        UsageError: the decay is out of range, or timm does not know the layers of the backbone.
    """
    from timm.models._manipulate import group_with_matcher

    if not 0.0 < decay <= 1.0:
        raise UsageError(
            f"--layer-decay must be above 0 and at most 1, got {decay}", next="--layer-decay 0.75"
        )
    net: Any = getattr(backbone, "net", None)
    if not hasattr(net, "group_matcher"):
        raise UsageError(
            f"--layer-decay needs a backbone of timm; {type(backbone).__name__} does not name its layers",
            next="--backbone-lr",
        )
    named = list(net.named_parameters())
    classifier = net.pretrained_cfg.get("classifier") or "head"
    head = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    matcher = net.group_matcher(coarse=False)
    depths = group_with_matcher(iter([*named, (head, None)]), matcher, reverse=True)
    return {f"net.{name}": decay ** (depths[head] - depths[name]) for name, _ in named}
