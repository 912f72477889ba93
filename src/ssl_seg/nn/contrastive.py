"""Losses by which a vector must find its own partner among others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.utils.autocast import full_precision


@full_precision
def batch_contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding each query's key among the keys of the whole batch, of all processes.

    Args:
        queries, keys: (B, D), row by row of the same images; normalised here.
        temperature: > 0; divides the cosine similarities.
    """
    all_keys = all_gather(F.normalize(keys, dim=1))
    own = local_shard(torch.arange(len(all_keys), device=keys.device))
    return F.cross_entropy(F.normalize(queries, dim=1) @ all_keys.T / temperature, own)


@full_precision
def queue_contrast(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross entropy of telling each query's key from the negatives, which all queries share (MoCo's loss).

    Args:
        queries, keys: (B, D), row by row of the same images; normalised here. No gradient flows into keys.
        negatives: (N, D) unit vectors.
        temperature: > 0; divides the cosine similarities.
    """
    queries = F.normalize(queries, dim=1)
    positive = (queries * F.normalize(keys.detach(), dim=1)).sum(dim=1, keepdim=True)
    logits = torch.cat([positive, queries @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
