"""What kind of method each is, for `ssl-seg list ssl`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssl_seg.utils.foreign import fenced

if TYPE_CHECKING:
    from ssl_seg.augment.recipes import View
    from ssl_seg.registry import Registry


@dataclass(frozen=True)
class MethodSummary:
    """One method; an empty text is what is not known of it.

    Attributes:
        name: in the registry.
        family: of ideas.
        network: `any`, `convnet` or `transformer`.
        views: how many an image has, and the side of each as a share of the image size: `2`, `2 + 4 x 0.43`.
        needs: besides images, as `labels`.
        packages: that provide it.
    """

    name: str
    family: str
    network: str
    views: str
    needs: str
    packages: str


def method_summaries(registry: "Registry") -> list[MethodSummary]:
    """Every method of the registry; of one that cannot be loaded or built little is known."""
    return [_summary(registry, name) for name in registry.names("ssl")]


def _summary(registry: "Registry", name: str) -> MethodSummary:
    packages = ", ".join(map(str, registry.providers("ssl", name)))
    try:
        factory = registry.factory("ssl", name)
    except Exception:  # foreign code; `ssl-seg plugins` says what is wrong
        return MethodSummary(name, "", "", "", "", packages)
    from ssl_seg.nn.token_backbone import network_of

    needs = "labels" if getattr(factory, "needs_labels", False) is True else ""
    family, network = str(getattr(factory, "family", "")), network_of(factory)
    return MethodSummary(name, family, network, _views_of(registry, name, network), needs, packages)


def _views_of(registry: "Registry", name: str, network: str) -> str:
    """Some methods decide on views as they are made: one is made on a tiny backbone, without numbers."""
    import torch

    from ssl_seg.nn.tiny_backbone import TinyBackbone, TinyTokens

    backbone = TinyTokens if network == "transformer" else TinyBackbone
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), fenced():
            return describe_views(registry.build("ssl", name, backbone()).views)
    except Exception:  # foreign code
        return ""


def describe_views(views: "Sequence[View]") -> str:
    """How many views of each side: `2`, or `2 + 4 x 0.43` with four of 0.43 times the image size."""
    sides = Counter(view.zoom for view in views)
    return " + ".join(str(count) if zoom == 1 else f"{count} x {zoom:.2g}" for zoom, count in sides.items())
