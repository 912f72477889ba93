"""Logistic regression on features: what a linear classifier at its best makes of them."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

L2_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def fit_logistic_regression(
    features: Tensor, targets: Tensor, classes: int, l2_strength: float, start: Tensor | None = None
) -> Tensor:
    """Minimise the mean cross entropy plus `l2_strength` / 2 times the squared weights, by L-BFGS.

    The bias is not penalised. The problem is convex, so the start changes only the time it takes.

    Args:
        features: (N, D) float64.
        targets: (N,) class indices.
        classes: how many there are.
        start: (classes, D + 1) weights with the bias in the last column; zeros by default.

    Returns:
        (classes, D + 1) float64.
    """
    columns = features.shape[1] + 1
    weights = torch.zeros(classes, columns, dtype=features.dtype, device=features.device)
    if start is not None:
        weights.copy_(start)
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=500, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits_of(weights, features), targets)
        loss = loss + l2_strength / 2 * weights[:, :-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weights.detach()


def logits_of(weights: Tensor, features: Tensor) -> Tensor:
    """(classes, D + 1) weights on (N, D) features: (N, classes)."""
    return F.linear(features, weights[:, :-1], weights[:, -1])


def linear_probe(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    held: Tensor,
    *,
    strengths: Sequence[float] = L2_STRENGTHS,
    tell: Callable[[float, float], None] = lambda l2_strength, accuracy: None,
) -> tuple[Tensor, float]:
    """Classify `queries` by a regression on `bank`, its l2_strength chosen on a part of the bank.

    Features are centred and scaled by the bank's mean and standard deviation.

    Args:
        bank: (N, D) features with (N,) `labels`.
        queries: (M, D) features.
        classes: how many there are.
        held: (N,) bool, the part of the bank on which the l2_strength is chosen.
        strengths: to choose from; of equally good ones the strongest.
        tell: called with each l2_strength and its accuracy on the held part.

    Returns:
        (M, classes) logits and the l2_strength.
    """
    bank, queries = bank.double(), queries.double()
    centre, scale = bank.mean(dim=0), bank.std(dim=0, unbiased=False).clamp(min=1e-6)
    bank, queries = (bank - centre) / scale, (queries - centre) / scale
    best, chosen, weights = -1.0, max(strengths), None
    for l2_strength in sorted(strengths, reverse=True):
        weights = fit_logistic_regression(bank[~held], labels[~held], classes, l2_strength, weights)
        right = (logits_of(weights, bank[held]).argmax(dim=1) == labels[held]).double().mean().item()
        tell(l2_strength, right)
        if right > best:
            best, chosen = right, l2_strength
    return logits_of(fit_logistic_regression(bank, labels, classes, chosen), queries).float(), chosen
