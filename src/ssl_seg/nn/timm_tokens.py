"""Tokens of timm's plain transformers: `VisionTransformer` and `Eva`."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def tokens_of(
    net: Any, x: Tensor, *, keep: Tensor | None, hide: Tensor | None, mask_token: Tensor | None
) -> Tensor:
    """The tokens of timm's `forward_features`, from embedded patches; see `Backbone.tokens`.

    Args:
        net: of timm, one that `has_tokens`.
        x: what its `patch_embed` returns.
    """
    if hide is not None:
        assert mask_token is not None
        x = mask_token.to(x.dtype).where(hide.reshape(*x.shape[:-1], 1), x)
    x = net._pos_embed(x)
    x, rope = x if isinstance(x, tuple) else (x, None)
    if keep is not None:
        x, rope = _kept(net, x, rope, keep)
    x = net.norm_pre(x)
    for index, block in enumerate(net.blocks):
        run = partial(checkpoint, block, use_reentrant=False) if net.grad_checkpointing else block
        x = run(x) if rope is None else run(x, rope=rope[index] if _has_own_rope(net) else rope)
    out: Tensor = net.norm(x)
    return out


def _kept(net: Any, x: Tensor, rope: Tensor | None, keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """The prefix and the patches of these numbers, and their rotary positions."""
    prefix, patches = x[:, : net.num_prefix_tokens], x[:, net.num_prefix_tokens :]
    x = torch.cat([prefix, patches.gather(1, keep[..., None].expand(-1, -1, x.shape[2]))], dim=1)
    if rope is None:
        return x, None
    rope = rope[..., keep, :]  # (B, K, D), or (blocks, heads, B, K, D) where each block has its own
    return x, rope.transpose(1, 2) if _has_own_rope(net) else rope.unsqueeze(1)


def _has_own_rope(net: Any) -> bool:
    return bool(getattr(net, "rope_mixed", False))
