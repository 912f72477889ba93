"""The lines of a TOML file that set its keys, for messages."""

import re
from collections.abc import Iterator


def plain_key(key: str) -> str:
    """A key as the name of a parameter."""
    return key.replace("-", "_")


def keys_per_line(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the key path, outermost key first, that each line sets or opens."""
    table: tuple[str, ...] = ()
    for line in text.splitlines():
        head = line.strip()
        words = re.findall(
            r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", head.strip("[]") if head[:1] == "[" else head.split("=")[0]
        )
        keys = tuple(plain_key(next(filter(None, word), "")) for word in words)
        if head.startswith("["):
            table = keys
            yield keys
        else:
            yield (*table, *keys) if "=" in head and not head.startswith("#") else ()


def num_shared(requested: tuple[str, ...], line: tuple[str, ...]) -> int:
    """Return how many leading keys a line shares with the requested path."""
    same = [one == other for one, other in zip(requested, line, strict=False)]
    return same.index(False) if False in same else len(same)
