"""The same bits from the same run, on a GPU too."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssl_seg.errors import SslSegError, UsageError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it, products of matrices may add up in another order
_REFUSAL = re.compile(
    r"(?P<what>\S+) does not have a deterministic implementation|Deterministic behavior was enabled"
)


@contextmanager
def deterministic() -> Iterator[None]:
    """Around the work of a run: whatever torch computes, it computes the same way every time, or refuses to.

    What was set before is set again after it.

    Raises:
        UsageError: an operation has no such implementation on this device.
    """
    cudnn, workspace = torch.backends.cudnn, os.environ.get(_WORKSPACE)
    before = cudnn.benchmark, cudnn.deterministic
    mode = torch.get_deterministic_debug_mode()
    os.environ[_WORKSPACE] = workspace or ":4096:8"
    cudnn.benchmark, cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if found := as_refusal(error):
            raise found from error
        raise
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.benchmark, cudnn.deterministic = before
        if workspace is None:
            del os.environ[_WORKSPACE]


def as_refusal(error: BaseException) -> SslSegError | None:
    """What is said where torch refuses an operation because its result is not the same every time; None of others."""
    found = _REFUSAL.search(str(error)) if isinstance(error, RuntimeError) else None
    if not found:
        return None
    what = found["what"] or "matrix multiplication (cuBLAS)"
    return UsageError(
        f"{what} has no deterministic implementation on this device", next="omit --deterministic"
    )
