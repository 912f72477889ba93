"""Detect within seconds that one of several processes has ended, whatever the others are doing.

Every process has a connection to the main one. The operating system closes it when the process dies,
and notices within seconds that its machine is gone; a process that is busy keeps it open. A thread reads
each end, so that nothing has to be polled during computation.
"""

import selectors
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Condition, Event, Thread, Timer
from typing import Any

from ssl_seg.distributed.connection import Connection
from ssl_seg.errors import DistributedError, SslSegError, Stopped
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.timeout import StallDetector, timeout_seconds

GRACE_PERIOD_SECONDS = 4.0  # for a process to end cleanly after another one has ended
_REPLY_TIMEOUT_SECONDS, _JOIN_TIMEOUT_SECONDS = 2.0, 1.0
_PING_INTERVAL_SECONDS = 1.0  # to processes that a barrier waits for


@dataclass(frozen=True)
class Failure:
    """The reason why a process ended: its error, or unknown (`code` 0)."""

    rank: int
    code: int = 0
    what: str = ""
    where: str | None = None
    next: str | None = None

    @classmethod
    def of(cls, rank: int, error: BaseException) -> "Failure":
        """Describe the error that ends the process `rank`."""
        if isinstance(error, Interrupted):
            error = Stopped(error.signal)
        if isinstance(error, SslSegError):
            return cls(rank, error.code, error.what, error.where, error.next)
        return cls(rank, 1, f"{type(error).__name__}: {error}")

    def error(self, from_main: bool) -> SslSegError:
        """Return the error that another process raises; `from_main`: the main process reports it."""
        error: SslSegError
        if self.code > 128:
            error = Stopped(self.code - 128)
        elif self.code:
            error = DistributedError(
                f"process {self.rank} failed: {self.what}", where=self.where, next=self.next
            )
        else:
            where = f"{self.where}; it was killed, crashed, or its machine is unreachable"
            error = DistributedError(f"process {self.rank} exited unexpectedly", where=where)
        error.reported = from_main
        return error


class FailureMonitor:
    """The connections of one process.

    Args:
        rank, world_size: of this process.
        connections: rank -> connection and a description of the peer. The main process is connected to
            all others, any other process to rank 0.

    Attributes:
        failure: the first failure, None while all processes run.
        on_stalled: called in another thread when this process still runs `GRACE_PERIOD_SECONDS` after
            another one failed: it is blocked in a call that cannot be interrupted.
    """

    def __init__(self, rank: int, world_size: int, connections: dict[int, tuple[Connection, str]]) -> None:
        self.rank, self.is_main = rank, rank == 0
        self.failure: Failure | None = None
        self.on_stalled: Callable[[SslSegError], None] = lambda error: None
        self._connections = {other: connection for other, (connection, _) in connections.items()}
        self._descriptions = {other: who for other, (_, who) in connections.items()}
        self._arrivals = dict.fromkeys(
            range(world_size), 0
        )  # number of barriers that each process has entered
        self._pending_pongs: set[int] = set()
        self._messages_received = dict.fromkeys(self._connections, 0)
        self._changed, self._ending, self._acknowledged = Condition(), Event(), Event()
        selector = selectors.DefaultSelector()
        for other, connection in self._connections.items():
            selector.register(connection, selectors.EVENT_READ, (other, connection))
        self._reader = Thread(
            target=self._read, args=(selector,), name="ssl-seg-failure-monitor", daemon=True
        )
        self._reader.start()

    def barrier(self) -> None:
        """Wait until all processes have called this as often as this one, however long they compute.

        Connected processes are pinged meanwhile. A thread answers, so a busy process does too; one that has
        not answered for `timeout_seconds()` seconds is frozen.

        Raises:
            DistributedError: another process ended or is frozen. Stopped: by a signal.
        """
        with self._changed:
            self._arrivals[self.rank] += 1
            count = self._arrivals[self.rank]
            self._send_arrival(count)
            idle = {other: StallDetector(_PING_INTERVAL_SECONDS) for other in self._connections}

            def over() -> bool:
                return min(self._arrivals.values()) >= count or self.failure is not None

            while not self._changed.wait_for(over, _PING_INTERVAL_SECONDS):
                frozen = [
                    other for other, looks in idle.items() if looks.is_stalled(self._messages_received[other])
                ]
                if frozen:
                    raise DistributedError(
                        f"process {frozen[0]} is unresponsive: no answer for {timeout_seconds():.0f} s",
                        where=self._descriptions[frozen[0]],
                    )
                self._send_all(ping=True)
            arrived = min(self._arrivals.values()) >= count
        if not arrived and (error := self.wait_for_failure(0)):
            raise error

    def wait_for_failure(self, seconds: float) -> SslSegError | None:
        """Wait up to `seconds` for a failure; return the error that this process raises for it."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure, seconds)
        if self.failure is None:
            return None
        main_died = self.failure.rank == 0 and not self.failure.code  # no other process would report it
        return self.failure.error(from_main=not self.is_main and not main_died)

    def unresponsive_ranks(self) -> list[int]:
        """Ranks of the connected processes that run but do not answer."""
        with self._changed:
            self._pending_pongs = set(self._connections)
            self._send_all(ping=True)
            self._changed.wait_for(lambda: not self._pending_pongs, _REPLY_TIMEOUT_SECONDS)
            return sorted(self._pending_pongs)

    def report_failure(self, error: BaseException) -> bool:
        """Send the error that ends this process to the others.

        Then wait a moment for the main process to end: a launcher kills the others when one ends.

        Returns:
            Whether the main process reports the error, so that this one need not.
        """
        self._ending.set()
        failure = asdict(Failure.of(self.rank, error))
        if self.is_main:
            if self.failure is None:
                self._send_all(failure=failure)
            return False
        reported = getattr(error, "reported", False) or self._acknowledged.is_set()
        if not reported and self._connections[0].send(failure=failure):
            reported = self._acknowledged.wait(_REPLY_TIMEOUT_SECONDS)
        self._reader.join(_JOIN_TIMEOUT_SECONDS)
        return reported

    def close(self) -> None:
        """Close all connections; failures of other processes are ignored from now on."""
        self._ending.set()
        self._send_all(bye=True)
        for connection in self._connections.values():
            connection.close()

    def _send_arrival(self, count: int) -> None:
        """Send this process's arrival to the main one, or, as the main one, that all have arrived."""
        if not self.is_main:
            self._send_all(here=count)
        elif (least := min(self._arrivals.values())) >= count:
            self._send_all(all=least)

    def _send_all(self, **message: Any) -> None:
        for connection in self._connections.values():
            connection.send(**message)

    # in the reader's thread

    def _read(self, selector: selectors.BaseSelector) -> None:
        with suppress(OSError, ValueError):  # close() closes the connections meanwhile
            while selector.get_map():
                for key, _ in selector.select(_JOIN_TIMEOUT_SECONDS):
                    rank, connection = key.data
                    messages = connection.receive()
                    for message in messages or ():
                        self._handle(rank, message)
                    if messages is None:
                        self._set_failure(Failure(rank, where=self._descriptions[rank]))
                    if messages is None or any("bye" in message for message in messages):
                        selector.unregister(connection)

    def _handle(self, rank: int, message: dict[str, Any]) -> None:
        with self._changed:
            self._messages_received[rank] += 1
            if "here" in message:
                self._arrivals[rank] = message["here"]
                self._send_arrival(message["here"])
            if "all" in message:
                self._arrivals = dict.fromkeys(self._arrivals, message["all"]) | {
                    self.rank: self._arrivals[self.rank]
                }
            if "pong" in message:
                self._pending_pongs.discard(rank)
            if "acknowledged" in message or ("failure" in message and not self.is_main):
                self._acknowledged.set()
            self._changed.notify_all()
        if "ping" in message:
            self._connections[rank].send(pong=True)
        if "failure" in message:
            if self.is_main:
                self._connections[rank].send(acknowledged=True)
            self._set_failure(Failure(**message["failure"]))

    def _set_failure(self, failure: Failure) -> None:
        with self._changed:
            if self.failure or self._ending.is_set():
                return
            self.failure = failure
            self._changed.notify_all()
        if self.is_main:
            self._send_all(failure=asdict(failure))
        timer = Timer(GRACE_PERIOD_SECONDS, self._check_stalled)
        timer.daemon = True
        timer.start()

    def _check_stalled(self) -> None:
        error = self.wait_for_failure(0)
        if error and not self._ending.is_set():
            self.on_stalled(error)
