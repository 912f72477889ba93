"""Logistic regression against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ssl_seg.engine.linear_probe import fit_logistic_regression, linear_probe, logits_of

CLASSES = 4


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % CLASSES
    centres = torch.randn(CLASSES, 10, generator=generator, dtype=torch.float64)
    return centres[labels] + 1.5 * torch.randn(240, 10, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_weights_are_scikit_learns(problem, strength):
    features, labels = problem
    weights = fit_logistic_regression(features, labels, CLASSES, strength)
    oracle = LogisticRegression(C=1 / (strength * len(labels)), tol=1e-10, max_iter=10_000)
    oracle.fit(features, labels)
    probability = logits_of(weights, features).softmax(1).numpy()
    np.testing.assert_allclose(probability, oracle.predict_proba(features), atol=2e-4)


def test_the_start_changes_nothing(problem):
    features, labels = problem
    cold = fit_logistic_regression(features, labels, CLASSES, 0.01)
    warm = fit_logistic_regression(features, labels, CLASSES, 0.01, torch.randn_like(cold))
    torch.testing.assert_close(
        logits_of(cold, features).softmax(1), logits_of(warm, features).softmax(1), atol=1e-4, rtol=0
    )


def test_the_strength_is_the_best_on_the_held_part(problem):
    features, labels = problem
    held = torch.arange(len(labels)) % 5 == 0
    told = {}
    logits, chosen = linear_probe(
        features, labels, features[:7], CLASSES, held, tell=lambda s, a: told.update({s: a})
    )
    assert logits.shape == (7, CLASSES) and len(told) == 6
    assert chosen == max(s for s in told if told[s] == max(told.values()))
    scaled = (features - features.mean(0)) / features.std(0, unbiased=False)
    for strength, accuracy in told.items():
        oracle = LogisticRegression(C=1 / (strength * int((~held).sum())), tol=1e-10, max_iter=10_000)
        oracle.fit(scaled[~held], labels[~held])
        expected = oracle.score(scaled[held], labels[held])
        assert accuracy == pytest.approx(expected, abs=1.01 / int(held.sum()))


def test_a_feature_that_never_changes_is_no_harm(problem):
    features, labels = problem
    constant = torch.cat([features, torch.full((240, 1), 3.0, dtype=torch.float64)], 1)
    held = torch.arange(240) % 5 == 0
    with_it, _ = linear_probe(constant, labels, constant, CLASSES, held)
    without, _ = linear_probe(features, labels, features, CLASSES, held)
    torch.testing.assert_close(with_it.softmax(1), without.softmax(1), atol=1e-3, rtol=0)
