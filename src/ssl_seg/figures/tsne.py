"""Maps of the same images at several epochs, and how well the classes lie apart in each; by default t-SNE.

van der Maaten and Hinton 2008. A map starts from the layout of the one before, made small (Kobak and
Berens 2019), with less exaggeration, and is turned onto it when it is done, so that an image can be
found again. Measured: it shows its own features as well as a map that starts afresh does; one that
starts from the other's layout at full size is nearer still, but shows them worse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.errors import DataError, UsageError
from ssl_seg.figures.embedding_methods import check_method, pca_map, umap_map

MANY = 10_000  # points that scikit-learn maps within minutes
_MIN_IMAGES = 5  # images
_NUM_COMPONENTS = 50  # t-SNE sees this many principal components
_EXAGGERATION, _LATER_EXAGGERATION = (
    12.0,
    4.0,
)  # early exaggeration: the usual one mixes up the layout that a map starts from

Floats = NDArray[np.floating[Any]]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class TSNEMap:
    """One map.

    Attributes:
        epoch: whose features it shows.
        xy: (N, 2) positions, rounded to four decimals; their scale means nothing.
        purity: see `purity`.
        silhouette: see `silhouette`.
    """

    epoch: int
    xy: NDArray[np.float64]
    purity: float
    silhouette: float | None


def max_points() -> int | None:
    """How many points can be mapped in reasonable time; None: any number, openTSNE is installed."""
    return None if find_spec("openTSNE") else MANY


def evenly_spaced(count: int, most: int | None) -> NDArray[np.int64]:
    """At most `most` of the rows 0 ... count - 1, evenly spaced."""
    if most is None or count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)


def usable_perplexity(count: int, requested: float | None = None) -> float:
    """How many neighbours count for each of `count` images: `requested`, or 30, or fewer for few images.

    Raises:
        UsageError: there are too few images, for any map or for what is asked.
    """
    largest = (count - 1) / 3
    if count < _MIN_IMAGES:
        raise UsageError(f"t-SNE requires at least {_MIN_IMAGES} images, got {count}")
    if requested is not None and not 0 < requested <= largest:
        raise UsageError(
            f"expected a perplexity in (0, {largest:g}] for {count} images, got {requested:g}",
            next="omit --perplexity",
        )
    return min(30.0, largest) if requested is None else requested


def compute_tsne_maps(
    features: Mapping[int, Floats],
    targets: Classes,
    *,
    perplexity: float,
    method: str = "tsne",
    seed: int = 0,
    k: int = 10,
    on_progress: Callable[[int, int], None] = lambda done, count: None,
) -> list[TSNEMap]:
    """Map the same N images by their features at each epoch; on one machine always to the same bits.

    It runs in one thread: several wait for each other on a busy machine, and add up in another order.

    Args:
        features: epoch -> (N, C).
        targets: (N,) class indices; the maps do not depend on them, their numbers do.
        perplexity: how many neighbours count for t-SNE; see `usable_perplexity`.
        method: of `embedding_methods.METHODS`.
        k: neighbours that `purity` asks.
        on_progress: is called with the number of maps that are made, and of all.

    Raises:
        DataError: features that are not finite. UsageError: a method that is unknown or not installed.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    check_method(method)
    for epoch, values in features.items():
        if lost := len(values) - int(np.isfinite(values).all(axis=1).sum()):
            raise DataError(
                f"features of {lost} of {len(values)} images are not finite", where=f"epoch {epoch}"
            )
    maps: list[TSNEMap] = []
    import_module("sklearn.manifold")  # pools that are loaded inside the block would not be limited
    with threadpool_limits(1):
        for epoch, values in features.items():
            on_progress(len(maps), len(features))
            reduced = _reduce_dimensions(values, seed)
            xy = _map(method, reduced, maps[-1].xy if maps else None, perplexity, seed)
            xy = (_align(xy, maps[-1].xy) if maps else xy).round(4)
            maps.append(TSNEMap(epoch, xy, purity(xy, targets, k), silhouette(xy, targets)))
        on_progress(len(maps), len(features))
    return maps


def _map(
    method: str, reduced: NDArray[np.float64], before: Floats | None, perplexity: float, seed: int
) -> NDArray[np.float64]:
    if method == "pca":
        return pca_map(reduced)
    start = _start(reduced if before is None else before, seed)
    if method == "umap":
        return umap_map(reduced, start, seed)
    exaggeration = _EXAGGERATION if before is None else _LATER_EXAGGERATION
    options = {"perplexity": perplexity, "early_exaggeration": exaggeration}
    return _embed(reduced, start, random_state=seed, n_jobs=1, **options).astype(np.float64)


def _reduce_dimensions(features: Floats, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA

    values = features.astype(np.float64)
    values -= values.mean(axis=0)
    values /= np.abs(values).max(initial=0) or 1  # t-SNE sees ratios of distances alone
    if min(values.shape) <= _NUM_COMPONENTS:
        # nothing to leave out; turned nevertheless: the first two columns are the start
        return np.asarray(values @ np.linalg.svd(values, full_matrices=False)[2].T)
    return np.asarray(PCA(_NUM_COMPONENTS, random_state=seed).fit_transform(values))


def _start(positions: Floats, seed: int) -> NDArray[np.float32]:
    """The first two columns, as small as t-SNE wants them, and a hair of chance so that equals can part."""
    start = np.random.default_rng(seed).normal(scale=1e-6, size=(len(positions), 2))
    flat = positions[:, :2]
    start[:, : flat.shape[1]] += flat / (flat[:, 0].std() or 1) * 1e-4
    return start.astype(np.float32)


def _embed(values: NDArray[np.float64], start: NDArray[np.float32], **options: Any) -> Floats:
    if len(values) > MANY and max_points() is None:
        from openTSNE import TSNE as Fast

        return np.asarray(Fast(initialization=start, **options).fit(values))
    from sklearn.manifold import TSNE

    return np.asarray(TSNE(init=start, **options).fit_transform(values))


def _align(xy: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotated and perhaps mirrored, so that images lie nearest to where they lay: no distance changes."""
    centred = xy - xy.mean(axis=0)
    u, _, v = np.linalg.svd(centred.T @ (onto - onto.mean(axis=0)))
    return np.asarray(centred @ u @ v)


def purity(xy: Floats, targets: Classes, k: int = 10) -> float:
    """Share of an image's k nearest neighbours on the map that are of its class, averaged over images.

    Args:
        xy: (N, 2).
        targets: (N,).
        k: all N - 1 others, if there are fewer.
    """
    return float(_same_class(xy, targets, k).mean())


def class_purities(xy: Floats, targets: Classes, k: int = 10) -> dict[int, float]:
    """The purity over the images of each class, by class index; a class of one image has none."""
    shares = _same_class(xy, targets, k).mean(axis=1)
    classes, counts = np.unique(targets, return_counts=True)
    return {int(index): float(shares[targets == index].mean()) for index in classes[counts > 1]}


def _same_class(xy: Floats, targets: Classes, k: int) -> NDArray[np.bool_]:
    """(N, k), whether each neighbour is of the image's class."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(k, len(xy) - 1)).fit(xy)
    near = search.kneighbors(return_distance=False)  # without the point itself, also among equal points
    return np.asarray(targets[near] == targets[:, None])


def chance_purity(targets: Classes) -> float:
    """The purity to expect of a map that knows nothing: two different images are of one class."""
    counts = np.unique(targets, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(targets) * (len(targets) - 1)))


def silhouette(xy: Floats, targets: Classes) -> float | None:
    """Mean silhouette (Rousseeuw 1987) of the classes on the map, in [-1, 1]; of 10,000 images if there are more.

    None, if all images are of one class, or each is of its own.
    """
    from sklearn.metrics import silhouette_score

    rows = evenly_spaced(len(xy), MANY)
    if not 1 < len(np.unique(targets[rows])) < len(rows):
        return None
    return float(silhouette_score(xy[rows], targets[rows]))
