"""One process builds an image cache, the others wait; the files of builds that were killed are removed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import discard, total_size
from ssl_seg.utils.lock import sign, signature, try_lock
from ssl_seg.utils.timeout import StallDetector, timeout_seconds

_POLL_SECONDS = 0.2


@contextmanager
def build_lock(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a cache. The system releases it when its process exits; the file stays.

    Raises:
        ResourceError: another process holds it, without progress for `timeout_seconds()` seconds.
    """
    with folder.with_name(f".{folder.name}.lock").open("a+") as lock:
        idle = StallDetector(_POLL_SECONDS)
        while not try_lock(lock, seconds=_POLL_SECONDS):
            wait()
            if idle.is_stalled(total_size(folder.parent.glob(f".{folder.name}.tmp-*/*"))):
                raise ResourceError(
                    f"timeout: another process is building the image cache, without progress for {timeout_seconds():.0f} s",
                    where=f"{folder}: {signature(lock)}",
                    next="stop that process, or use --cache OTHER_FOLDER",
                )
        sign(lock)
        yield


def remove_stale_builds(cache: Path, folder: Path) -> None:
    """Remove the files of killed builds: of `folder`, whose lock is held, and of other caches."""
    for leftover in cache.glob(".*.tmp-*"):
        name = leftover.name.rpartition(".tmp-")[0]
        if name == f".{folder.name}":
            discard(leftover)
            continue
        with leftover.with_name(f"{name}.lock").open("a") as lock:
            if try_lock(lock):
                discard(leftover)
