"""k-NN against scikit-learn and a loop in NumPy."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ssl_seg.errors import UsageError
from ssl_seg.metrics import knn
from ssl_seg.metrics.knn import KNN, knn_predict

CLASSES = 5


@pytest.fixture
def problem():
    """Clusters that overlap, so that neighbours disagree: bank, labels, queries, their labels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, 8, generator=generator)
    bank_labels, target = torch.arange(200) % CLASSES, torch.arange(90) % CLASSES
    feature_bank = centres[bank_labels] + 1.5 * torch.randn(200, 8, generator=generator)
    features = centres[target] + 1.5 * torch.randn(90, 8, generator=generator)
    return 3.0 * feature_bank, bank_labels, features, target


def numpy_votes(feature_bank, bank_labels, features, k, temperature):
    feature_bank, features = feature_bank.double().numpy(), features.double().numpy()
    feature_bank = feature_bank / np.linalg.norm(feature_bank, axis=1, keepdims=True)
    votes = np.zeros((len(features), CLASSES))
    for row, query in enumerate(features):
        cosine = feature_bank @ (query / np.linalg.norm(query))
        for index in np.argsort(-cosine)[:k]:
            votes[row, bank_labels[index]] += np.exp(cosine[index] / temperature)
    return votes


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 5, 20])
class TestVotes:
    def test_they_equal_a_loop(self, problem, k, temperature):
        feature_bank, bank_labels, features, _ = problem
        ours = (
            knn_predict(feature_bank, bank_labels, features, CLASSES, k=k, temperature=temperature)
            .double()
            .numpy()
        )
        expected = numpy_votes(feature_bank, bank_labels.numpy(), features, k, temperature)
        np.testing.assert_allclose(
            ours / ours.sum(axis=1, keepdims=True), expected / expected.sum(axis=1, keepdims=True), atol=1e-5
        )

    def test_they_equal_scikit_learn(self, problem, k, temperature):
        feature_bank, bank_labels, features, _ = problem
        oracle = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / temperature)
        ).fit(feature_bank.double().numpy(), bank_labels.numpy())
        ours = knn_predict(feature_bank, bank_labels, features, CLASSES, k=k, temperature=temperature)
        share = (ours / ours.sum(dim=1, keepdim=True)).numpy()
        np.testing.assert_allclose(share, oracle.predict_proba(features.double().numpy()), atol=1e-5)
        assert np.array_equal(ours.argmax(dim=1).numpy(), oracle.predict(features.double().numpy()))


def test_the_largest_weight_is_one_however_cold(problem):
    feature_bank, bank_labels, features, _ = problem
    votes = knn_predict(feature_bank, bank_labels, features, CLASSES, k=1, temperature=1e-3)
    assert torch.equal(votes.max(dim=1).values, torch.ones(len(features)))
    assert bool(
        torch.isfinite(
            knn_predict(feature_bank, bank_labels, features, CLASSES, k=20, temperature=1e-3)
        ).all()
    )


@pytest.mark.parametrize("chunk", [1, 7, 90])
def test_chunks_do_not_matter(problem, chunk, monkeypatch):
    feature_bank, bank_labels, features, _ = problem
    whole = knn_predict(feature_bank, bank_labels, features, CLASSES, k=20, temperature=0.1)
    monkeypatch.setattr(knn, "_CHUNK", chunk)
    torch.testing.assert_close(
        knn_predict(feature_bank, bank_labels, features, CLASSES, k=20, temperature=0.1), whole
    )


def test_a_bank_smaller_than_k_votes_as_a_whole(problem):
    feature_bank, bank_labels, features, _ = problem
    votes = knn_predict(feature_bank[:3], bank_labels[:3], features, CLASSES, k=20, temperature=0.1)
    expected = knn_predict(feature_bank[:3], bank_labels[:3], features, CLASSES, k=3, temperature=0.1)
    assert torch.equal(votes, expected)


def test_the_metric_is_scikit_learns_accuracy(problem):
    feature_bank, bank_labels, features, target = problem
    metric = KNN(["a", "b", "c", "d", "e"], k=7, temperature=0.2)
    metric.fill(feature_bank, bank_labels)
    for rows in torch.arange(90).split(40):
        metric.update(features[rows], target[rows])
    oracle = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp(-distance / 0.2))
    expected = oracle.fit(feature_bank.numpy(), bank_labels.numpy()).score(features.numpy(), target.numpy())
    assert 0.3 < expected < 0.95, "neither chance nor perfect, or this test would tell nothing"
    assert metric.compute() == {"knn": pytest.approx(expected)}
    metric.reset()
    assert metric.compute() == {"knn": 0.0}


def test_without_a_bank_it_says_so(problem):
    with pytest.raises(UsageError, match="call fill"):
        KNN(["a", "b"]).update(problem[2], problem[3])
