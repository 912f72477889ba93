"""A connection between two processes: JSON objects, one a line."""

import hmac
import json
import os
import socket
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any

from ssl_seg.errors import RankError
from ssl_seg.utils.toml import parse_json

_OPTIONS = {"TCP_NODELAY": 1} | {
    name: value
    for name, value in {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 4}.items()
    if hasattr(socket, name)  # not on every system
}
_CONNECT = 120.0  # seconds until all processes must have come
_HELLO = 10.0  # until one that has come has said who it is
_WRITE = 30.0  # until the other end must have taken what is sent: it is never more than a few lines


class Wire:
    """One end of a connection. Several threads may send; one reads."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(_WRITE)  # who reads is told by `selectors` that there is something
        with suppress(OSError):
            # have the system notice within some seconds that the other machine is gone
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _OPTIONS.items():
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._line, self._writing, self._rest = line, Lock(), b""

    def fileno(self) -> int:
        """For `selectors`."""
        return self._line.fileno()

    def send(self, **said: Any) -> bool:
        """Send one object; whether the other end could be reached."""
        try:
            with self._writing:
                self._line.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            return False
        return True

    def read(self) -> list[dict[str, Any]] | None:
        """What has come, waiting for some; None when the other end is gone."""
        try:
            data = self._line.recv(65536)
        except OSError:
            return None
        *texts, self._rest = (self._rest + data).split(b"\n")
        return [parse_json(text) for text in texts] if data else None

    def close(self) -> None:
        """Close it, whoever is reading."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()


def listen() -> socket.socket:
    """A socket of the main process, on a free port of all its addresses."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def accept(server: socket.socket, ranks: int, token: str) -> dict[int, tuple[Wire, str]]:
    """Wait for all other processes; who does not know the token is sent away.

    Returns:
        Rank -> connection, and who that is.

    Raises:
        RankError: one has not come.
    """
    found: dict[int, tuple[Wire, str]] = {}
    deadline = monotonic() + _CONNECT
    while len(found) < ranks - 1:
        if monotonic() >= deadline:
            missing = sorted(set(range(1, ranks)).difference(found))
            for wire, _ in found.values():
                wire.close()
            raise RankError(f"process {missing[0]} has not come within {_CONNECT:.0f} s")
        server.settimeout(max(0.1, deadline - monotonic()))
        with suppress(TimeoutError):
            line = server.accept()[0]
            try:
                hello = parse_json(_first_line(line))
                if not hmac.compare_digest(str(hello["token"]), token):
                    raise ValueError("a stranger")
                found[int(hello["rank"])] = Wire(line), str(hello["who"])
            except (ValueError, KeyError, TypeError, OSError):
                line.close()
    server.close()
    return found


def _first_line(line: socket.socket) -> bytes:
    """Byte by byte: what comes behind it is for the `Wire`."""
    data, deadline = b"", monotonic() + _HELLO
    while not data.endswith(b"\n") and len(data) < 1000:
        line.settimeout(max(0.01, deadline - monotonic()))
        byte = line.recv(1)
        if not byte:
            break
        data += byte
    return data


def connect(address: tuple[str, int], rank: int, token: str) -> Wire:
    """Find the main process.

    Raises:
        RankError: it cannot be reached.
    """
    try:
        wire = Wire(socket.create_connection(address, timeout=_CONNECT))
    except OSError as error:
        where = f"{address[0]} port {address[1]}"
        raise RankError(f"process {rank} cannot reach the main one: {error}", where=where) from error
    wire.send(token=token, rank=rank, who=f"pid {os.getpid()} on {socket.gethostname()}")
    return wire
