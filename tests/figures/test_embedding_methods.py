"""PCA and UMAP beside t-SNE."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from ssl_seg.errors import UsageError
from ssl_seg.figures.tsne import compute_tsne_maps


def features(count=80, seed=0):
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 4
    return random.normal(size=(count, 12)) * np.arange(1, 13) + 9 * (targets[:, None] == 1), targets


def test_pca_is_that_of_scikit_learn_but_for_signs_and_scale():
    values, targets = features()
    (found,) = compute_tsne_maps({3: values}, targets, perplexity=5, method="pca")
    wanted = PCA(2).fit_transform(values)
    for axis in (0, 1):
        assert abs(np.corrcoef(found.xy[:, axis], wanted[:, axis])[0, 1]) == pytest.approx(1, abs=1e-3)
    assert np.ptp(found.xy[:, 0]) / np.ptp(found.xy[:, 1]) == pytest.approx(
        np.ptp(wanted[:, 0]) / np.ptp(wanted[:, 1]), rel=1e-2
    )


def test_a_single_feature_has_a_second_axis_of_zeros():
    (found,) = compute_tsne_maps({1: np.arange(8.0)[:, None]}, np.zeros(8, int), perplexity=2, method="pca")
    assert found.xy.shape == (8, 2) and np.ptp(found.xy[:, 1]) == 0 < np.ptp(found.xy[:, 0])


def test_umap_starts_from_the_map_before_and_is_seeded(monkeypatch):
    seen = []

    class Fake:
        def __init__(self, **options):
            seen.append(options)

        def fit_transform(self, values):
            return values[:, :2] * 3

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake, __spec__=True))
    values, targets = features()
    maps = compute_tsne_maps({1: values, 5: values[:, ::-1]}, targets, perplexity=5, method="umap", seed=7)
    assert [each.epoch for each in maps] == [1, 5]
    assert {(each["random_state"], each["n_jobs"], each["n_neighbors"]) for each in seen} == {(7, 1, 15)}
    start = seen[1]["init"]
    assert np.corrcoef(start[:, 0], maps[0].xy[:, 0])[0, 1] == pytest.approx(1, abs=1e-3)


@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is an optional extra")
def test_umap_separates_clusters_and_repeats_itself():
    values, targets = features()
    values[targets == 1] += 60
    first, again = (
        compute_tsne_maps({1: values}, targets == 1, perplexity=5, method="umap")[0] for _ in range(2)
    )
    assert first.purity > 0.95 and first.xy.tobytes() == again.xy.tobytes()


def test_what_is_missing_or_unknown_says_what_to_do(monkeypatch):
    values, targets = features()
    monkeypatch.setattr("ssl_seg.utils.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--method umap requires umap .not installed.") as caught:
        compute_tsne_maps({1: values}, targets, perplexity=5, method="umap")
    assert "pip install 'ssl-seg[umap]'" in caught.value.next
    with pytest.raises(UsageError, match="unknown method 'lda'"):
        compute_tsne_maps({1: values}, targets, perplexity=5, method="lda")
