"""Components by name, who brought each, and how a name and options become an object."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssl_seg.errors import PluginError, SslSegError, UsageError, did_you_mean
from ssl_seg.utils.code_names import FoundName, folded, load_named, names_code, refuse_code, unknown
from ssl_seg.utils.entry_points import PluginSource
from ssl_seg.utils.foreign import Owner, fenced
from ssl_seg.utils.home import expanded
from ssl_seg.utils.options import Factory, check_options, paper_in, resolved_options
from ssl_seg.utils.text import listed

KINDS = {
    "ssl": "ssl_methods",
    "backbones": "backbones",
    "heads": "heads",
    "datasets": "datasets",
    "metrics": "metrics",
}
COMPONENT_TYPES = {
    "ssl": "ssl method",
    "backbones": "backbone",
    "heads": "head",
    "datasets": "dataset",
    "metrics": "metric",
}
BUILT_IN = PluginSource("ssl-seg")


@dataclass(frozen=True)
class PluginFactories:
    """What one plugin brings of one kind. The names are read once; a factory only when it is asked for.

    Attributes:
        source: who brings it.
        names: of the components.
        factories: by name; may be lazy.
    """

    source: PluginSource
    names: frozenset[str]
    factories: Mapping[str, Factory]

    @cached_property
    def folded(self) -> dict[str, list[str]]:
        """The names by how they are compared, see `ssl_seg.utils.code_names.folded`."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.names):
            found.setdefault(folded(name), []).append(name)
        return found

    def names_like(self, name: str) -> list[str]:
        """The name itself if there is one, else all that differ from it by case and hyphens alone."""
        return [str(name)] if name in self.names else self.folded.get(folded(name), [])


class Registry:
    """Names of five kinds: ssl, backbones, heads, datasets, metrics."""

    def __init__(self) -> None:
        self._tables: dict[str, list[PluginFactories]] = {kind: [] for kind in KINDS}
        self.failures: list[str] = []  # one line per plugin that could not be used
        self.notes: list[str] = []  # one line per plugin that did what it should not, and is used

    def add(self, kind: str, table: PluginFactories) -> None:
        """Take in what a plugin brings."""
        self._tables[kind].append(table)

    def names(self, kind: str) -> list[str]:
        """All names of a kind, sorted."""
        return sorted(frozenset().union(*(table.names for table in self._tables[kind])))

    def providers(self, kind: str, name: str) -> list[PluginSource]:
        """Who brings a name; more than one is a conflict."""
        return [table.source for table in self._tables[kind] if folded(name) in table.folded]

    def canonical(self, kind: str, name: str) -> str:
        """The registered name: `MoCo-v2` is `moco_v2`. Unknown names and names of code are returned unchanged.

        Raises:
            UsageError: several of a plugin's names differ from it by case and hyphens alone.
            PluginError: two plugins provide it.
        """
        if names_code(name):
            return name
        owners = self._owners(kind, name)
        return type(name)(owners[0][1]) if owners and not isinstance(name, FoundName) else name

    def _owners(self, kind: str, name: str) -> list[tuple[PluginFactories, str]]:
        """At most one: the plugin that provides a name, and the name as it is registered."""
        found = [(table, like) for table in self._tables[kind] if (like := table.names_like(name))]
        if len(found) > 1:
            raise PluginError(self._conflict(kind, name), next="uninstall one of them")
        if found and len(found[0][1]) > 1:
            raise UsageError(
                f"{COMPONENT_TYPES[kind]} {name!r} could be {' or '.join(map(repr, found[0][1]))}"
            )
        return [(table, like[0]) for table, like in found]

    def tables(self, kind: str) -> Iterator[PluginFactories]:
        """Plugins and what they bring, in the order they were found."""
        return iter(self._tables[kind])

    def conflicts_and_errors(self) -> list[str]:
        """One line per plugin that could not be used, and per name that two bring."""
        lines = list(self.failures)
        for kind, tables in self._tables.items():
            owners = Counter(name for table in tables for name in table.folded)
            twice = sorted(name for name, count in owners.items() if count > 1)
            lines += [f"{self._conflict(kind, name)}; the name is ambiguous" for name in twice]
        return lines

    def _conflict(self, kind: str, name: str) -> str:
        tables = [table for table in self._tables[kind] if folded(name) in table.folded]
        names = dict.fromkeys(repr(each) for table in tables for each in table.folded[folded(name)])
        return f"{' or '.join(names)} ({kind}) is provided by {' and '.join(str(table.source) for table in tables)}"

    def factory(self, kind: str, name: str) -> Factory:
        """What makes the component of this name; a `TypedName` may be `file.py:Name`, any other may not.

        Raises:
            UsageError: no such name; a WeightsError where a weight file says it, a `FoundName`.
            WeightsError: it names code, and nobody has typed it.
            PluginError: two plugins bring it, the file cannot be imported, or no such name while a plugin that may
                bring it is left out.
        """
        if names_code(name):
            refuse_code(name, kind)
            return _callable(load_named(name), name)
        owners = self._owners(kind, name)
        if not owners:
            raise self._unknown(kind, name)
        table, own = owners[0]
        owner = Owner(str(table.source), f"{COMPONENT_TYPES[kind]} {own!r}")
        with fenced(owner=owner, fails="cannot be loaded"):  # a lazy mapping runs foreign code
            return _callable(table.factories[own], str(owner))

    def _unknown(self, kind: str, name: str) -> SslSegError:
        """Of a name that nobody brings: a typing error, or one that a plugin would bring that is left out."""
        near = did_you_mean(name, self.names(kind))
        left_out = self.failures and not near and not isinstance(name, FoundName)
        what, where, way = (
            f"no {COMPONENT_TYPES[kind]} {name!r}{near}",
            listed(self.failures) or None,
            f"ssl-seg list {kind}",
        )
        return (
            PluginError(what, where=where, next=way)
            if left_out
            else unknown(name, what, where=where, next=way)
        )

    def build(self, kind: str, name: str, *positional: Any, options: Mapping[str, str] | None = None) -> Any:
        """Make a component from its name, the command's positional values and the user's options.

        Raises:
            UsageError: an unknown name or option, or a value of the wrong type; see `unknown`.
            PluginError: a plugin's factory fails, or what it makes is no such component.
        """
        from ssl_seg.nn.contracts import made_by

        factory, options = self.factory(kind, name), options or {}
        values, owner = check_options(factory, _what(kind, name), options), self._owner(kind, name)
        try:
            made = (
                made_by(owner, kind, factory, positional, values) if owner else factory(*positional, **values)
            )
            if paper := paper_in(factory, _what(kind, name), options):
                made.recipe = paper.recipe
            return made
        except UsageError as error:  # options that do not go together
            if all(isinstance(word, FoundName) for word in (name, *options)):
                raise unknown(name, error.what, where=error.where, next=error.next) from error
            raise

    def _owner(self, kind: str, name: str) -> Owner | None:
        """Whose a component is; None: ours."""
        if names_code(name):
            file, _, part = name.rpartition(":")
            return Owner(str(expanded(file)), f"{COMPONENT_TYPES[kind]} {part!r}")
        source = self.providers(kind, name)[0]
        return None if source is BUILT_IN else Owner(str(source), f"{COMPONENT_TYPES[kind]} {name!r}")

    def resolved(self, kind: str, name: str, options: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What `build` gives a component: see `resolved_options`; it raises what `build` raises."""
        factory = self.factory(kind, name)
        return resolved_options(factory, check_options(factory, _what(kind, name), options or {}))


def _what(kind: str, name: str) -> str:
    return f"{kind.rstrip('s')} {name}"


def _callable(factory: Any, what: str) -> Factory:
    if not callable(factory):
        raise PluginError(f"{what} is not a factory (got {type(factory).__name__})")
    made: Factory = factory
    return made
