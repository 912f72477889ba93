"""Images that are in both of two sets, pixel for pixel: a measure on them measures memory."""

from typing import TYPE_CHECKING

import torch

from ssl_seg.errors import DataError
from ssl_seg.utils.log import log

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import Store

_SHOWN = 3


def refuse_overlap(
    known: tuple["Dataset", "Store"],
    asked: tuple["Dataset", "Store"],
    *,
    allowed: bool,
    said: str = "validation images are also training images",
) -> None:
    """See that no image that is asked about was learnt from, unless that is allowed; then it is warned of.

    Args:
        known, asked: what is learnt from and what is measured; both stores have one limit, so that equal
            pictures have equal digests.
        allowed: `--allow-overlap`.
        said: of the images that are in both.

    Raises:
        DataError: there are some; with their number and the first pairs.
    """
    (train, learnt), (val, store) = known, asked
    shared = shared_with(learnt, store).nonzero()[:, 0]
    if not len(shared):
        return
    pairs = []
    for row in shared[:_SHOWN].tolist():
        twin = int((learnt.digests == store.digests[row]).nonzero()[0, 0])
        pairs.append(f"{val.origin(int(store.rows[row]))} is {train.origin(int(learnt.rows[twin]))}")
    what = f"{len(shared)} of {len(store)} {said}"
    if allowed:
        log.warning("%s: %s", what, pairs[0])
        return
    more = [f"and {len(shared) - _SHOWN} more"] if len(shared) > _SHOWN else []
    raise DataError(
        what,
        where="\n       ".join([*pairs, *more]),
        next="remove them from one of the two; if they are meant to be there: --allow-overlap",
    )


def shared_with(known: "Store", asked: "Store") -> "Tensor":
    """(N,) bool: which pictures of `asked` are also in `known`."""
    return torch.isin(asked.digests, known.digests)


def tell_twins(store: "Store", held: "Tensor") -> None:
    """Say how many pictures that are held back have an equal one among those that are learnt from.

    Args:
        held: (N,) bool, on the CPU.
    """
    twins = int(torch.isin(store.digests[held], store.digests[~held]).sum())
    if twins:
        log.warning(
            "%d of %d images that are held back are also among those learnt from: the probe's score is too high",
            twins,
            int(held.sum()),
        )
