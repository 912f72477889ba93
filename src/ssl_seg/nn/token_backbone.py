"""Backbones of equal patches, each of which has a token: what masked image modeling trains."""

from typing import Any

from torch import Tensor

from ssl_seg.base import Backbone


class TokenBackbone(Backbone):
    """A plain transformer, as a pyramid of maps like any backbone, and as tokens.

    Attributes:
        patch: side of a patch, in pixels.
        width: of a token.
        prefix: number of tokens before those of the patches: class and register tokens.
    """

    patch: int
    width: int
    prefix: int

    @property
    def side_multiple(self) -> int:
        return self.patch

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patches down and across an image of this size; they are numbered row by row."""
        return height // self.patch, width // self.patch

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, prefix + N, width) tokens behind the last norm.

        Args:
            images: their sides are multiples of `patch`.
            keep: (B, K) int64 numbers of patches; only these are computed, in this order, so N = K. A patch
                that is not kept has no influence on any token.
            hide: (B, N) bool; these patches are replaced by `mask_token` once embedded, before their position
                is added.
            mask_token: (width,), a parameter of the method.

        Raises:
            UsageError: the images have another size.
        """
        raise NotImplementedError


def needs_tokens(factory: Any) -> bool:
    """Whether a method's factory says that it trains transformers alone."""
    needs = getattr(getattr(factory, "func", factory), "needs", None)
    return isinstance(needs, type) and issubclass(needs, TokenBackbone)
