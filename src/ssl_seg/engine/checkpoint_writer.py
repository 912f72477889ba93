"""Checkpoints are written by a thread, while training goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import replace

import torch
from torch import Tensor

from ssl_seg.utils.log import log
from ssl_seg.utils.threads import side_thread
from ssl_seg.weights.checkpoint import Snapshot


class CheckpointWriter:
    """One thread that writes one checkpoint at a time, from copies of the tensors.

    What fails there is raised by the next call of `check`, `start` or `finish`.
    """

    def __init__(self) -> None:
        self._pool = side_thread("checkpoint")
        self._writing: Future[None] | None = None
        self._copies: dict[str, Tensor] = {}  # kept: filling new memory takes several times as long

    def start(self, snapshot: Snapshot, write: Callable[[Snapshot], None]) -> None:
        """Copy the tensors of a snapshot, and have it written; waits for the one before."""
        self.finish()
        copied = replace(
            snapshot,
            model=self._copied("model", snapshot.model),
            optimizer=self._copied("optimizer", snapshot.optimizer),
        )
        arrived = torch.cuda.Event() if torch.cuda.is_initialized() else None
        if arrived:
            arrived.record()

        def run() -> None:
            if arrived:
                arrived.synchronize()
            write(copied)

        self._writing = self._pool.submit(copy_context().run, run)

    def _copied(self, kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies in memory that is used again; from a GPU they arrive later, without being waited for."""
        return {name: self._copy(f"{kind}.{name}", tensor.detach()) for name, tensor in tensors.items()}

    def _copy(self, name: str, tensor: Tensor) -> Tensor:
        copy = self._copies.get(name)
        if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
            # in the same layout: a copy that reorders is slow
            copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            self._copies[name] = copy
        return copy.copy_(tensor, non_blocking=tensor.is_cuda)

    def check(self) -> None:
        """Raise what has failed since the last call; waits for nothing."""
        if self._writing and self._writing.done():
            self.finish()

    def finish(self) -> None:
        """Wait until everything is written; raise what has failed."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def close(self, error: BaseException | None) -> None:
        """Finish, and end the thread; beside another error, what fails is only noted."""
        try:
            self.finish()
        except Exception as failure:
            if error is None:
                raise
            log.warning("a checkpoint could not be written: %s", failure)
        finally:
            self._pool.shutdown()
