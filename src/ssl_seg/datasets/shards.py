"""Images that `ssl-seg pack` has written."""

from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.data.shards.remote import RemoteShards, is_url
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import default_cache_dir, expanded


def shards(root: str, split: str, *, cache_gib: float = 50.0) -> ShardDataset:
    """Packed images with their labels or masks: tar files, decoded while training.

    Args:
        root: the folder that `ssl-seg pack` has written, or its URL: https://, s3://, ...
        split: without effect.
        cache_gib: of a URL: size of the cache of shards, in GiB.

    Raises:
        UsageError: a URL that cannot be read. DataError: no packed images, or damaged ones.
    """
    if not is_url(root):
        return ShardDataset(expanded(root))
    remote = RemoteShards(root, default_cache_dir(), int(cache_gib * 2**30))
    return ShardDataset(remote.folder, remote)


@hookimpl
def datasets() -> dict[str, object]:
    return {"shards": shards}
