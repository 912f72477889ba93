"""Which networks a method trains; and how backbones with tokens and their methods were declared before."""

from typing import Any

from ssl_seg.base import Backbone


class _WithTokens(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Backbone) and instance.patch > 0


class TokenBackbone(Backbone, metaclass=_WithTokens):
    """Deprecated: a `Backbone` whose `patch` is not 0. `needs = TokenBackbone` of a method is `network = "transformer"`."""


def network_of(factory: Any) -> str:
    """What a method's factory says that it trains: `any`, `convnet` or `transformer`."""
    method = getattr(factory, "func", factory)
    if getattr(method, "needs", None) is TokenBackbone:
        return "transformer"
    return str(getattr(method, "network", "any"))
