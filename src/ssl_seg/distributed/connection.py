"""A connection between two processes: JSON objects, one a line."""

import hmac
import json
import os
import socket
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any

from ssl_seg.errors import DistributedError
from ssl_seg.utils.toml import parse_json

_OPTIONS = {"TCP_NODELAY": 1} | {
    name: value
    for name, value in {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 4}.items()
    if hasattr(socket, name)  # not on every system
}
_CONNECT_TIMEOUT_SECONDS = 120.0  # until all processes must have connected
_HELLO_TIMEOUT_SECONDS = 10.0  # until a peer must have identified itself
_WRITE_TIMEOUT_SECONDS = 30.0  # until the other end must have received a message of a few lines


class Connection:
    """One end of a connection. Several threads may send, one may receive."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(_WRITE_TIMEOUT_SECONDS)  # receivers wait with `selectors`
        with suppress(OSError):
            # detect within seconds that the other machine is gone
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _OPTIONS.items():
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._line, self._writing, self._rest = line, Lock(), b""

    def fileno(self) -> int:
        """For `selectors`."""
        return self._line.fileno()

    def send(self, **message: Any) -> bool:
        """Send one object; return whether the other end could be reached."""
        try:
            with self._writing:
                self._line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for data; return the complete objects, None when the other end has closed."""
        try:
            data = self._line.recv(65536)
        except OSError:
            return None
        *texts, self._rest = (self._rest + data).split(b"\n")
        return [parse_json(text) for text in texts] if data else None

    def close(self) -> None:
        """Close it, even while another thread receives."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()


def listen() -> socket.socket:
    """A socket of the main process, on a free port of all its addresses."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def accept_all(server: socket.socket, world_size: int, token: str) -> dict[int, tuple[Connection, str]]:
    """Accept the connections of all other processes; a peer without the token is rejected.

    Returns:
        Rank -> connection and description of the peer.

    Raises:
        DistributedError: a process has not connected in time.
    """
    connections: dict[int, tuple[Connection, str]] = {}
    deadline = monotonic() + _CONNECT_TIMEOUT_SECONDS
    while len(connections) < world_size - 1:
        if monotonic() >= deadline:
            missing = sorted(set(range(1, world_size)).difference(connections))
            for connection, _ in connections.values():
                connection.close()
            raise DistributedError(
                f"process {missing[0]} did not connect within {_CONNECT_TIMEOUT_SECONDS:.0f} s"
            )
        server.settimeout(max(0.1, deadline - monotonic()))
        with suppress(TimeoutError):
            line = server.accept()[0]
            try:
                hello = parse_json(_first_line(line))
                if not hmac.compare_digest(str(hello["token"]), token):
                    raise ValueError("unknown peer")
                connections[int(hello["rank"])] = Connection(line), str(hello["who"])
            except (ValueError, KeyError, TypeError, OSError):
                line.close()
    server.close()
    return connections


def _first_line(line: socket.socket) -> bytes:
    """Byte by byte: what comes behind it is for the `Wire`."""
    data, deadline = b"", monotonic() + _HELLO_TIMEOUT_SECONDS
    while not data.endswith(b"\n") and len(data) < 1000:
        line.settimeout(max(0.01, deadline - monotonic()))
        byte = line.recv(1)
        if not byte:
            break
        data += byte
    return data


def connect_to_main(address: tuple[str, int], rank: int, token: str) -> Connection:
    """Connect to the main process.

    Raises:
        DistributedError: it cannot be reached.
    """
    try:
        connection = Connection(socket.create_connection(address, timeout=_CONNECT_TIMEOUT_SECONDS))
    except OSError as error:
        where = f"{address[0]} port {address[1]}"
        raise DistributedError(
            f"process {rank} cannot reach the main process: {error}", where=where
        ) from error
    connection.send(token=token, rank=rank, who=f"pid {os.getpid()} on {socket.gethostname()}")
    return connection
