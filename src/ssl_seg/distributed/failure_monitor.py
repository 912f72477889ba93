"""Knowing at once when one of several processes is gone, whatever the others are doing.

Every process holds a connection to the main one. The system closes it when a process dies, however it
dies, and notices within seconds when its machine does; a process that is merely busy keeps it. Each
end is read by a thread, so nobody needs to look while it computes or waits.
"""

import selectors
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Condition, Event, Thread, Timer
from typing import Any

from ssl_seg.distributed.connection import Wire
from ssl_seg.errors import RankError, SslSegError, Stopped
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.patience import Idle, patience

GRACE = 4.0  # seconds in which a process may end in good order after another one is gone
_ANSWER, _MOMENT = 2.0, 1.0
_ASK = 1.0  # seconds between two questions to those that are waited for


@dataclass(frozen=True)
class Trouble:
    """What ended a process: an error of its own, or nobody knows what (`code` 0)."""

    rank: int
    code: int = 0
    what: str = ""
    where: str | None = None
    next: str | None = None

    @classmethod
    def of(cls, rank: int, error: BaseException) -> "Trouble":
        """The error that ends the process `rank`."""
        if isinstance(error, Interrupted):
            error = Stopped(error.signal)
        if isinstance(error, SslSegError):
            return cls(rank, error.code, error.what, error.where, error.next)
        return cls(rank, 1, f"{type(error).__name__}: {error}")

    def error(self, told: bool) -> SslSegError:
        """What it means for another process; `told`: the main one says so."""
        error: SslSegError
        if self.code > 128:
            error = Stopped(self.code - 128)
        elif self.code:
            error = RankError(f"process {self.rank} failed: {self.what}", where=self.where, next=self.next)
        else:
            where = f"{self.where}; it was killed, or crashed, or its machine is gone"
            error = RankError(f"process {self.rank} died", where=where)
        error.told = told
        return error


class Link:
    """The connections of one process.

    Args:
        rank, ranks: of this process.
        wires: rank -> connection and who that is: of the main process to all others, of any other
            to process 0.

    Attributes:
        trouble: the first process that is gone, if there is one.
        stuck: called, in another thread, when this process is still at work `GRACE` seconds after
            another one was gone: it waits for it in a call that nothing interrupts.
    """

    def __init__(self, rank: int, ranks: int, wires: dict[int, tuple[Wire, str]]) -> None:
        self.rank, self.is_main = rank, rank == 0
        self.trouble: Trouble | None = None
        self.stuck: Callable[[SslSegError], None] = lambda error: None
        self._wires = {other: wire for other, (wire, _) in wires.items()}
        self._who = {other: who for other, (_, who) in wires.items()}
        self._here = dict.fromkeys(range(ranks), 0)  # how many meetings each process has come to
        self._quiet: set[int] = set()
        self._answers = dict.fromkeys(self._wires, 0)  # how often each has been heard
        self._changed, self._ending, self._heard = Condition(), Event(), Event()
        selector = selectors.DefaultSelector()
        for other, wire in self._wires.items():
            selector.register(wire, selectors.EVENT_READ, (other, wire))
        self._reader = Thread(target=self._read, args=(selector,), name="ssl-seg-link", daemon=True)
        self._reader.start()

    def meet(self) -> None:
        """Wait until all processes have called this as often as this one, however long they are at work.

        Those that this one is connected to are asked meanwhile. A process that works answers, as a thread of its
        own does that; one that does not for `patience()` seconds is frozen, and given up.

        Raises:
            RankError: one of them is gone, or frozen. Stopped: by a signal.
        """
        with self._changed:
            self._here[self.rank] += 1
            count = self._here[self.rank]
            self._tell_arrival(count)
            idle = {other: Idle(_ASK) for other in self._wires}

            def over() -> bool:
                return min(self._here.values()) >= count or self.trouble is not None

            while not self._changed.wait_for(over, _ASK):
                frozen = [other for other, looks in idle.items() if looks.look(self._answers[other])]
                if frozen:
                    raise RankError(
                        f"process {frozen[0]} is frozen: it has not answered for {patience():.0f} s",
                        where=self._who[frozen[0]],
                    )
                self._send_all(ping=True)
            arrived = min(self._here.values()) >= count
        if not arrived and (error := self.cause(0)):
            raise error

    def cause(self, seconds: float) -> SslSegError | None:
        """Without which other process this one cannot go on; waits a moment for the news."""
        with self._changed:
            self._changed.wait_for(lambda: self.trouble, seconds)
        if self.trouble is None:
            return None
        main_died = self.trouble.rank == 0 and not self.trouble.code  # nobody else would tell
        return self.trouble.error(told=not self.is_main and not main_died)

    def silent(self) -> list[int]:
        """Which of those that this process is connected to are there and do not answer: frozen ones."""
        with self._changed:
            self._quiet = set(self._wires)
            self._send_all(ping=True)
            self._changed.wait_for(lambda: not self._quiet, _ANSWER)
            return sorted(self._quiet)

    def fail(self, error: BaseException) -> bool:
        """Tell the others that this process ends, and why.

        Then it waits a moment for the main one to end: a launcher that sees a process end kills the
        others.

        Returns:
            Whether the main process says why: then this one need not.
        """
        self._ending.set()
        trouble = asdict(Trouble.of(self.rank, error))
        if self.is_main:
            if self.trouble is None:
                self._send_all(trouble=trouble)
            return False
        told = getattr(error, "told", False) or self._heard.is_set()
        told = told or (self._wires[0].send(trouble=trouble) and self._heard.wait(_ANSWER))
        self._reader.join(_MOMENT)
        return told

    def close(self) -> None:
        """Part in peace; what others do from now on no longer matters."""
        self._ending.set()
        self._send_all(bye=True)
        for wire in self._wires.values():
            wire.close()

    def _tell_arrival(self, count: int) -> None:
        """The main process counts; the others hear that all are there."""
        if not self.is_main:
            self._send_all(here=count)
        elif (least := min(self._here.values())) >= count:
            self._send_all(all=least)

    def _send_all(self, **said: Any) -> None:
        for wire in self._wires.values():
            wire.send(**said)

    # the other thread

    def _read(self, selector: selectors.BaseSelector) -> None:
        with suppress(OSError, ValueError):  # connections are closed under it at the end
            while selector.get_map():
                for key, _ in selector.select(_MOMENT):
                    rank, wire = key.data
                    said = wire.read()
                    for each in said or ():
                        self._take(rank, each)
                    if said is None:
                        self._note(Trouble(rank, where=self._who[rank]))
                    if said is None or any("bye" in each for each in said):
                        selector.unregister(wire)

    def _take(self, rank: int, said: dict[str, Any]) -> None:
        with self._changed:
            self._answers[rank] += 1
            if "here" in said:
                self._here[rank] = said["here"]
                self._tell_arrival(said["here"])
            if "all" in said:
                self._here = dict.fromkeys(self._here, said["all"]) | {self.rank: self._here[self.rank]}
            if "pong" in said:
                self._quiet.discard(rank)
            if "heard" in said or ("trouble" in said and not self.is_main):
                self._heard.set()
            self._changed.notify_all()
        if "ping" in said:
            self._wires[rank].send(pong=True)
        if "trouble" in said:
            if self.is_main:
                self._wires[rank].send(heard=True)
            self._note(Trouble(**said["trouble"]))

    def _note(self, trouble: Trouble) -> None:
        with self._changed:
            if self.trouble or self._ending.is_set():
                return
            self.trouble = trouble
            self._changed.notify_all()
        if self.is_main:
            self._send_all(trouble=asdict(trouble))
        timer = Timer(GRACE, self._give_up)
        timer.daemon = True
        timer.start()

    def _give_up(self) -> None:
        error = self.cause(0)
        if error and not self._ending.is_set():
            self.stuck(error)
