"""k-NN against scikit-learn and a loop in NumPy."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ssl_seg.errors import UsageError
from ssl_seg.metrics import knn
from ssl_seg.metrics.knn import KNN, knn_votes

CLASSES = 5


@pytest.fixture
def problem():
    """Clusters that overlap, so that neighbours disagree: bank, labels, queries, their labels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, 8, generator=generator)
    labels, target = torch.arange(200) % CLASSES, torch.arange(90) % CLASSES
    bank = centres[labels] + 1.5 * torch.randn(200, 8, generator=generator)
    queries = centres[target] + 1.5 * torch.randn(90, 8, generator=generator)
    return 3.0 * bank, labels, queries, target


def numpy_votes(bank, labels, queries, k, temperature):
    bank, queries = bank.double().numpy(), queries.double().numpy()
    bank = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    votes = np.zeros((len(queries), CLASSES))
    for row, query in enumerate(queries):
        cosine = bank @ (query / np.linalg.norm(query))
        for index in np.argsort(-cosine)[:k]:
            votes[row, labels[index]] += np.exp(cosine[index] / temperature)
    return votes


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 5, 20])
class TestVotes:
    def test_they_equal_a_loop(self, problem, k, temperature):
        bank, labels, queries, _ = problem
        ours = knn_votes(bank, labels, queries, CLASSES, k=k, temperature=temperature).double().numpy()
        expected = numpy_votes(bank, labels.numpy(), queries, k, temperature)
        np.testing.assert_allclose(
            ours / ours.sum(axis=1, keepdims=True), expected / expected.sum(axis=1, keepdims=True), atol=1e-5
        )

    def test_they_equal_scikit_learn(self, problem, k, temperature):
        bank, labels, queries, _ = problem
        oracle = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / temperature)
        ).fit(bank.double().numpy(), labels.numpy())
        ours = knn_votes(bank, labels, queries, CLASSES, k=k, temperature=temperature)
        share = (ours / ours.sum(dim=1, keepdim=True)).numpy()
        np.testing.assert_allclose(share, oracle.predict_proba(queries.double().numpy()), atol=1e-5)
        assert np.array_equal(ours.argmax(dim=1).numpy(), oracle.predict(queries.double().numpy()))


def test_the_largest_weight_is_one_however_cold(problem):
    bank, labels, queries, _ = problem
    votes = knn_votes(bank, labels, queries, CLASSES, k=1, temperature=1e-3)
    assert torch.equal(votes.max(dim=1).values, torch.ones(len(queries)))
    assert bool(torch.isfinite(knn_votes(bank, labels, queries, CLASSES, k=20, temperature=1e-3)).all())


@pytest.mark.parametrize("chunk", [1, 7, 90])
def test_chunks_do_not_matter(problem, chunk, monkeypatch):
    bank, labels, queries, _ = problem
    whole = knn_votes(bank, labels, queries, CLASSES, k=20, temperature=0.1)
    monkeypatch.setattr(knn, "_CHUNK", chunk)
    torch.testing.assert_close(knn_votes(bank, labels, queries, CLASSES, k=20, temperature=0.1), whole)


def test_a_bank_smaller_than_k_votes_as_a_whole(problem):
    bank, labels, queries, _ = problem
    votes = knn_votes(bank[:3], labels[:3], queries, CLASSES, k=20, temperature=0.1)
    expected = knn_votes(bank[:3], labels[:3], queries, CLASSES, k=3, temperature=0.1)
    assert torch.equal(votes, expected)


def test_the_metric_is_scikit_learns_accuracy(problem):
    bank, labels, queries, target = problem
    metric = KNN(["a", "b", "c", "d", "e"], k=7, temperature=0.2)
    metric.fill(bank, labels)
    for rows in torch.arange(90).split(40):
        metric.update(queries[rows], target[rows])
    oracle = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp(-distance / 0.2))
    expected = oracle.fit(bank.numpy(), labels.numpy()).score(queries.numpy(), target.numpy())
    assert 0.3 < expected < 0.95, "neither chance nor perfect, or this test would tell nothing"
    assert metric.compute() == {"knn": pytest.approx(expected)}
    metric.reset()
    assert metric.compute() == {"knn": 0.0}


def test_without_a_bank_it_says_so(problem):
    with pytest.raises(UsageError, match="call fill"):
        KNN(["a", "b"]).update(problem[2], problem[3])
