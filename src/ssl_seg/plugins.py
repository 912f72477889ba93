"""Finds the built-in and the installed plugins; one that fails harms nobody but itself."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType

import pluggy

from ssl_seg import hooks
from ssl_seg.data.component_names import write_component_names
from ssl_seg.errors import did_you_mean
from ssl_seg.hooks import GROUP
from ssl_seg.registry import BUILT_IN, KINDS, PluginFactories, Registry
from ssl_seg.utils.entry_points import PluginSource, iter_entry_points, short_error
from ssl_seg.utils.foreign import is_ctrl_c, know
from ssl_seg.utils.home import default_cache_dir
from ssl_seg.utils.importing import ImportFault, import_fence
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.lazy_dynamo import dynamo_on_demand
from ssl_seg.utils.log import log
from ssl_seg.utils.surroundings import restored

OBSERVERS = ("run_start", "step_end", "epoch_end", "run_end")
_FOLDERS = ("methods", "backbones", "heads", "datasets", "metrics")


class PluginManager:
    """Everything that is plugged in: a registry of components, and the observers of runs."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hooks)
        self._reported: set[str] = set()

    def register(self, module: object, name: str, source: PluginSource) -> None:
        """Take in one plugin.

        Raises:
            Exception: whatever is wrong with it; nothing of it stays then.
        """
        if self.manager.is_registered(module):
            raise ValueError(f"it is registered already, as {self.manager.get_name(module)}")
        self._check_names(module)
        try:
            self.manager.register(module, name)
            tables = dict(self._tables_of(module, source))
        except BaseException:
            if self.manager.is_registered(module):
                self.manager.unregister(module)
            raise
        for kind, table in tables.items():
            self.registry.add(kind, table)

    def _tables_of(self, module: object, source: PluginSource) -> Iterator[tuple[str, PluginFactories]]:
        for kind, hook in KINDS.items():
            for impl in getattr(self.manager.hook, hook).get_hookimpls():
                if impl.plugin is not module:
                    continue
                factories = impl.function()
                if not isinstance(factories, Mapping):
                    raise TypeError(f"{hook}() must return a mapping, not {type(factories).__name__}")
                for key in factories:
                    if not isinstance(key, str):
                        raise TypeError(f"{hook}() returns a non-string name {key!r}")
                yield kind, PluginFactories(source, frozenset(factories), factories)

    def _check_names(self, module: object) -> None:
        """For pluggy a misspelt hook is a new one; here it is an error."""
        known = {name for name in vars(hooks) if hasattr(getattr(hooks, name), f"{GROUP}_spec")}
        for name in dir(module):
            marked = hasattr(getattr(module, name, None), f"{GROUP}_impl")
            if marked and name not in known:
                raise AttributeError(f"no hook {name!r}{did_you_mean(name, known)}")

    def notify(self, hook: str, **values: object) -> list[str]:
        """Call an observer hook; a broken observer is reported once and the run lives. Returns the texts it returns."""
        returned = []
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            with restored(numbers_only=True):
                returned.append(self._call(impl, hook, values))
        return [each for each in returned if isinstance(each, str)]

    def observes(self, hook: str) -> bool:
        """Whether a plugin implements an observer hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def is_observer(self, name: str) -> bool:
        """Whether the plugin that was registered under this name implements an observer hook."""
        hooks = (getattr(self.manager.hook, hook) for hook in OBSERVERS)
        return any(impl.plugin_name == name for hook in hooks for impl in hook.get_hookimpls())

    def _call(self, impl: pluggy.HookImpl, hook: str, values: Mapping[str, object]) -> object:
        try:
            return impl.function(*(values[name] for name in impl.argnames))
        except Interrupted:
            raise
        except BaseException as error:  # foreign code
            if is_ctrl_c(error):
                raise
            if impl.plugin_name not in self._reported:
                self._reported.add(impl.plugin_name)
                log.warning("plugin %s: %s failed: %s", impl.plugin_name, hook, short_error(error))
            return None


def load_plugins() -> PluginManager:
    """The built-in plugins, then the installed ones of the entry-point group `ssl_seg`."""
    plugins = PluginManager()
    with dynamo_on_demand():
        for module in built_in_modules():
            plugins.register(module, module.__name__, BUILT_IN)
    registry, notes = plugins.registry, default_cache_dir() / "importing"
    for point, source in iter_entry_points(GROUP, registry.failures.append):
        whose = f"plugin {point.name!r} of {source}"
        changed: list[str] = []
        try:
            with import_fence(whose, name=point.name, module=point.module, notes=notes) as changed:
                module = point.load()
                know(point.module, str(source))
                plugins.register(module, f"{source.name}:{point.name}", source)
        except ImportFault as fault:
            registry.failures.append(f"{whose} is disabled: {fault}")
        if changed:
            registry.notes.append(f"{whose} changed {', '.join(changed)} at import: restored")
    write_component_names({kind: registry.names(kind) for kind in KINDS})
    return plugins


def built_in_modules() -> Iterator[ModuleType]:
    """Every module in the five component folders."""
    for folder in _FOLDERS:
        package = importlib.import_module(f"ssl_seg.{folder}")
        for info in pkgutil.iter_modules(package.__path__):
            yield importlib.import_module(f"ssl_seg.{folder}.{info.name}")
