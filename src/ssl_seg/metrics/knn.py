"""Weighted k-nearest-neighbour classification of features (Wu et al. 2018, arXiv:1805.01978)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg.base import Metric
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl

_CHUNK = 4096


def knn_votes(
    bank: Tensor, labels: Tensor, queries: Tensor, classes: int, *, k: int, temperature: float
) -> Tensor:
    """Let the `k` most similar of the bank vote, each with weight exp(cosine / temperature).

    Args:
        bank: (N, D) features with (N,) int64 `labels`.
        queries: (M, D) features.
        classes: how many there are.

    Returns:
        (M, classes) sums of weights, each row divided by its largest weight.
    """
    bank = F.normalize(bank.float(), dim=1)
    k = min(k, len(bank))
    votes = []
    for chunk in F.normalize(queries.float(), dim=1).split(_CHUNK):
        similarity, nearest = (chunk @ bank.T).topk(k, dim=1)
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        vote = torch.zeros(len(chunk), classes, device=bank.device)
        votes.append(vote.scatter_add_(1, labels[nearest], weight))
    return torch.cat(votes)


class KNN(Metric):
    """Accuracy of classifying features by their neighbours in a labelled bank.

    Args:
        classes: names.
        k: neighbours that vote.
        temperature: of their weights.
    """

    def __init__(self, classes: Sequence[str], *, k: int = 20, temperature: float = 0.1) -> None:
        self.classes, self.k, self.temperature = classes, k, temperature
        self.bank: Tensor | None = None
        self.reset()

    def fill(self, features: Tensor, target: Tensor) -> None:
        """Set the bank: (N, D) features and (N,) labels."""
        self.bank, self.labels = features, target

    def reset(self) -> None:
        self._right, self._seen = 0, 0

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Classify (B, D) features, here called logits, against (B,) labels."""
        if self.bank is None:
            raise UsageError("call fill(features, labels) before update()")
        k, temperature = self.k, self.temperature
        votes = knn_votes(self.bank, self.labels, logits, len(self.classes), k=k, temperature=temperature)
        self._right += int((votes.argmax(dim=1) == target).sum())
        self._seen += len(target)

    def compute(self) -> dict[str, float]:
        return {"knn": self._right / max(1, self._seen)}


@hookimpl
def metrics() -> dict[str, type[Metric]]:
    return {"knn": KNN}
