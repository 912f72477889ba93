"""Components by name, who brought each, and how a name and options become an object."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_seg.errors import PluginError, UsageError, did_you_mean

KINDS = {
    "ssl": "ssl_methods",
    "backbones": "backbones",
    "heads": "heads",
    "datasets": "datasets",
    "metrics": "metrics",
}

Factory = Callable[..., Any]


@dataclass(frozen=True)
class Source:
    """A plugin that brings components, as people should see it."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


class Registry:
    """Names of five kinds: ssl, backbones, heads, datasets, metrics."""

    def __init__(self) -> None:
        self._tables: dict[str, list[tuple[Source, Mapping[str, Factory]]]] = {k: [] for k in KINDS}
        self.failures: list[str] = []  # one line per plugin that could not be used

    def add(self, kind: str, source: Source, factories: Mapping[str, Factory]) -> None:
        """Take in what a plugin brings; a mapping may be lazy."""
        self._tables[kind].append((source, factories))

    def names(self, kind: str) -> list[str]:
        """All names of a kind, sorted."""
        return sorted({name for _, table in self._tables[kind] for name in table})

    def sources(self, kind: str, name: str) -> list[Source]:
        """Who brings a name; more than one is a conflict."""
        return [source for source, table in self._tables[kind] if name in table]

    def tables(self, kind: str) -> Iterator[tuple[Source, Mapping[str, Factory]]]:
        """Plugins and what they bring, in the order they were found."""
        return iter(self._tables[kind])

    def factory(self, kind: str, name: str) -> Factory:
        """What makes the component of this name; `file.py:Name` is read from a file.

        Raises:
            UsageError: no such name.
            PluginError: two plugins bring it, or the file cannot be imported.
        """
        if ".py:" in name:
            return _from_file(name)
        owners = self.sources(kind, name)
        if len(owners) > 1:
            raise PluginError(
                f"{name!r} is brought by {' and by '.join(map(str, owners))}",
                next="uninstall one of them",
            )
        if not owners:
            singular = kind.rstrip("s") if kind != "ssl" else "ssl method"
            raise UsageError(
                f"no {singular} {name!r}{did_you_mean(name, self.names(kind))}",
                where="; ".join(self.failures) or None,
                next=f"ssl-seg list {kind}",
            )
        table = next(table for source, table in self._tables[kind] if source == owners[0] and name in table)
        return table[name]

    def build(self, kind: str, name: str, *given: Any, options: Mapping[str, str] | None = None) -> Any:
        """Make a component from its name, the command's positional values and the user's options.

        Raises:
            UsageError: an unknown name or option, or a value of the wrong type.
        """
        factory = self.factory(kind, name)
        return factory(*given, **check_options(factory, f"{kind.rstrip('s')} {name}", options or {}))


def options_of(factory: Factory) -> dict[str, inspect.Parameter]:
    """The user's options of a factory: its keyword-only parameters."""
    parameters = inspect.signature(factory, eval_str=True).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(factory: Factory, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn texts into values by the annotations of the factory's keyword-only parameters.

    Raises:
        UsageError: an option it does not have, or a value its annotation does not allow.
    """
    from pydantic import TypeAdapter, ValidationError

    known = options_of(factory)
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise UsageError(
                f"{what} has no option {key!r}{did_you_mean(key, known)}",
                next=f"it has {', '.join(known) or 'none'}",
            )
        annotation = known[key].annotation
        if annotation is inspect.Parameter.empty:
            annotation = type(known[key].default)
        try:
            adapter = TypeAdapter(annotation)
            is_none = value == "none" and known[key].default is None
            values[key] = None if is_none else adapter.validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise UsageError(f"option {key!r} of {what}: {reason}, got {value!r}") from error
    return values


def _from_file(name: str) -> Factory:
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.exists():
        raise UsageError(f"no such file: {path}", where=name)
    module_name = f"ssl_seg_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{path} has no {attribute!r}{did_you_mean(attribute, vars(module))}")
    factory: Factory = getattr(module, attribute)
    return factory
