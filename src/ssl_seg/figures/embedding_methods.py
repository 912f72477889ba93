"""The methods that map features to two dimensions, beside t-SNE: PCA, and UMAP, which is installed separately."""

import warnings
from typing import TYPE_CHECKING

from ssl_seg.errors import UsageError
from ssl_seg.utils.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHODS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
_NEIGHBORS = 15  # of each image, as UMAP's authors have it


def check_method(method: str) -> None:
    """Whether a method is known and installed.

    Raises:
        UsageError: it is not.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}", next=f"--method {'|'.join(METHODS)}")
    if method == "umap":
        require("--method umap", ["umap"], "'ssl-seg[umap]'  # or --method pca")


def pca_map(components: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """The first two principal components.

    Args:
        components: (N, C), the largest variance first.

    Returns:
        (N, 2); of a single component, the second is 0.
    """
    import numpy as np

    return np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))


def umap_map(
    components: "NDArray[np.float64]", start: "NDArray[np.floating]", seed: int
) -> "NDArray[np.float64]":
    """UMAP (McInnes et al. 2018) with 15 neighbors and a minimum distance of 0.1, in one thread.

    Args:
        components: (N, C), N of at least 4. start: (N, 2), where the points begin.
    """
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, and of one thread for a seed
        from umap import UMAP

        reducer = UMAP(
            n_neighbors=min(_NEIGHBORS, len(components) - 1), init=start, random_state=seed, n_jobs=1
        )
        return np.asarray(reducer.fit_transform(components), dtype=np.float64)
