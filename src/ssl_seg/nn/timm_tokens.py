"""Tokens of timm's plain transformers: `VisionTransformer` and `Eva`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssl_seg.errors import UsageError
from ssl_seg.nn.token_backbone import TokenBackbone


def has_tokens(net: Any) -> bool:
    """Whether `TimmTokens` reads it: a plain transformer of equal patches that do not overlap."""
    return isinstance(net, VisionTransformer | Eva) and type(net.patch_embed) is PatchEmbed


@contextmanager
def size_errors(name: str, images: Tensor) -> Iterator[None]:
    """Turn timm's refusal of an image size into a UsageError."""
    try:
        yield
    except AssertionError as error:
        height, width = images.shape[-2:]
        raise UsageError(
            f"backbone {name!r} does not support {height} x {width} images: {error}",
            next="another --image-size: often 224, or a multiple of 32",
        ) from error


class TimmTokens(TokenBackbone):
    """What a backbone is capable of whose `net` is a timm transformer: the tokens of timm's `forward_features`.

    Attributes:
        net: of timm.
        pool: which vector `summary` gives: the class token where there is one, or the mean of the patches.
    """

    net: Any
    pool: Literal["token", "mean"]
    built_as: tuple[str, dict[str, str]]

    def describe_tokens(self) -> None:
        """Read `patch`, `width` and `prefix` from `net`."""
        self.patch, _ = self.net.patch_embed.patch_size
        self.width, self.prefix = self.net.embed_dim, self.net.num_prefix_tokens

    @property
    def has_class_token(self) -> bool:
        """Whether the first of the `prefix` tokens is one."""
        return self.net.cls_token is not None

    def summary(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width): the class token where there is one and `pool` is not `mean`."""
        if self.pool == "token" and self.has_class_token:
            return self.tokens(images)[:, 0]
        return super().summary(images)

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """See `TokenBackbone`."""
        with size_errors(self.built_as[0], images):
            x = self.net.patch_embed(images)
        if hide is not None:
            assert mask_token is not None
            x = mask_token.to(x.dtype).where(hide.reshape(*x.shape[:-1], 1), x)
        x = self.net._pos_embed(x)
        x, rope = x if isinstance(x, tuple) else (x, None)
        if keep is not None:
            x, rope = self._kept(x, rope, keep)
        return self._transformed(x, rope)

    def _kept(self, x: Tensor, rope: Tensor | None, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """The prefix and the patches of these numbers, and their rotary positions."""
        prefix, patches = x[:, : self.prefix], x[:, self.prefix :]
        x = torch.cat([prefix, patches.gather(1, keep[..., None].expand(-1, -1, x.shape[2]))], dim=1)
        if rope is None:
            return x, None
        rope = rope[..., keep, :]  # (B, K, D), or (blocks, heads, B, K, D) where each block has its own
        return x, rope.transpose(1, 2) if self._has_own_rope else rope.unsqueeze(1)

    @property
    def _has_own_rope(self) -> bool:
        return bool(getattr(self.net, "rope_mixed", False))

    def _transformed(self, x: Tensor, rope: Tensor | None) -> Tensor:
        """Through the blocks and the last norm."""
        x = self.net.norm_pre(x)
        for index, block in enumerate(self.net.blocks):
            run = partial(checkpoint, block, use_reentrant=False) if self.net.grad_checkpointing else block
            x = run(x) if rope is None else run(x, rope=rope[index] if self._has_own_rope else rope)
        out: Tensor = self.net.norm(x)
        return out
