"""Weighted k-nearest-neighbour classification of features (Wu et al. 2018, arXiv:1805.01978)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg.base import Metric
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl

_CHUNK = 4096


def knn_predict(
    feature_bank: Tensor, bank_labels: Tensor, features: Tensor, classes: int, *, k: int, temperature: float
) -> Tensor:
    """Let the `k` most similar of the bank vote, each with weight exp(cosine / temperature).

    Args:
        feature_bank: (N, D) features with (N,) int64 `bank_labels`.
        features: (M, D) features.
        classes: how many there are.

    Returns:
        (M, classes) sums of weights, each row divided by its largest weight.
    """
    feature_bank = F.normalize(feature_bank.float(), dim=1)
    k = min(k, len(feature_bank))
    votes = []
    for chunk in F.normalize(features.float(), dim=1).split(_CHUNK):
        similarity, neighbors = (chunk @ feature_bank.T).topk(k, dim=1)
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        votes_of_chunk = torch.zeros(len(chunk), classes, device=feature_bank.device)
        votes.append(votes_of_chunk.scatter_add_(1, bank_labels[neighbors], weight))
    return torch.cat(votes)


class KNN(Metric):
    """k-NN accuracy of features against a labeled feature bank.

    Args:
        classes: names.
        k: number of neighbors.
        temperature: weights are exp(cosine / temperature).

    Attributes:
        predicted: int64 class indices of what was classified since `reset`, a tensor per `update`.
    """

    def __init__(self, classes: Sequence[str], *, k: int = 20, temperature: float = 0.1) -> None:
        self.classes, self.k, self.temperature = classes, k, temperature
        self.feature_bank: Tensor | None = None
        self.reset()

    def fill(self, features: Tensor, target: Tensor) -> None:
        """Set the bank: (N, D) features and (N,) labels."""
        self.feature_bank, self.bank_labels = features, target

    def reset(self) -> None:
        self._correct, self._total = 0, 0
        self.predicted: list[Tensor] = []

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Classify (B, D) features, here called logits, against (B,) labels."""
        if self.feature_bank is None:
            raise UsageError("call fill(features, labels) before update()")
        k, temperature = self.k, self.temperature
        votes = knn_predict(
            self.feature_bank, self.bank_labels, logits, len(self.classes), k=k, temperature=temperature
        )
        predicted = votes.argmax(dim=1)
        self.predicted.append(predicted)
        self._correct += int((predicted == target).sum())
        self._total += len(target)

    def compute(self) -> dict[str, float]:
        return {"knn": self._correct / max(1, self._total)}


@hookimpl
def metrics() -> dict[str, type[Metric]]:
    return {"knn": KNN}
