"""Images that `ssl-seg pack` has written."""

from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded


def shards(root: str, split: str) -> ShardDataset:
    """Packed images with their labels or masks: tar files, decoded while training.

    Args:
        root: the folder that `ssl-seg pack` has written.
        split: without effect.

    Raises:
        DataError: no packed images, or damaged ones.
    """
    return ShardDataset(expanded(root))


@hookimpl
def datasets() -> dict[str, object]:
    return {"shards": shards}
