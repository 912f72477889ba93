"""The conformance checks of one component, by its name."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import PluginError, UsageError, did_you_mean
from ssl_seg.registry import KINDS, Registry
from ssl_seg.utils.code_names import TypedName, names_code
from ssl_seg.utils.entry_points import iter_entry_points

if TYPE_CHECKING:
    from ssl_seg.base import Metric
    from ssl_seg.plugins import PluginManager

_TIMEOUT_SECONDS = 300
PASSED = "passed all checks"


def run_check(name: str) -> tuple[int, str]:
    """Run the checks in a separate process.

    Returns:
        Its exit code, and what it has printed on stdout.

    Raises:
        PluginError: the process timed out, was killed, or ended before its checks were complete.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-m", "ssl_seg.commands.check_plugin", name],
            timeout=_TIMEOUT_SECONDS,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a signal ends it through this process
        )
    except subprocess.TimeoutExpired as error:
        raise PluginError(f"check of {name} timed out after {_TIMEOUT_SECONDS} s") from error
    if result.returncode < 0:
        raise PluginError(
            f"check of {name} was killed by signal {-result.returncode}", next=f"ssl-seg list {name}"
        )
    if not result.returncode and PASSED not in result.stdout:
        raise PluginError(f"{name} ended the process before its checks were complete")
    return result.returncode, result.stdout


def check(registry: Registry, kind: str, name: str) -> None:
    """Hold one component to its contract.

    Raises:
        AssertionError: a rule is broken; the text says which.
    """
    from ssl_seg.testing import methods, parts

    factory = registry.factory(kind, name)
    if kind == "datasets":
        parts.check_dataset(factory("", "") if name == "demo" else factory(".", ""))
    elif kind == "metrics":
        parts.check_metric(factory, fill_feature_bank)
    else:
        checks: dict[str, Callable[[Any], None]] = {
            "ssl": methods.check_method,
            "backbones": parts.check_backbone,
            "heads": parts.check_head,
        }
        checks[kind](factory)


def fill_feature_bank(metric: "Metric") -> None:
    """Give a metric that compares with a bank of features one."""
    import torch

    if hasattr(metric, "fill"):
        generator = torch.Generator().manual_seed(7)
        metric.fill(torch.randn(30, 3, generator=generator), torch.arange(30) % 3)


def kind_of(factory: Callable[..., Any]) -> str:
    """What a factory that no registry knows makes: by the class it is or returns, else by its arguments.

    Raises:
        UsageError: it looks like none of the five kinds.
    """
    product = factory if isinstance(factory, type) else inspect.signature(factory).return_annotation
    for kind, noun in _component_types().items():
        if isinstance(product, type) and issubclass(product, noun):
            return kind
    parameters = inspect.signature(factory).parameters.values()
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    by_count = {0: "backbones", 1: "ssl", 2: "datasets", 3: "heads"}
    if positional not in by_count:
        raise UsageError(
            f"cannot determine the component type of {factory!r}",
            next="annotate its return type, for example `-> SSLMethod`",
        )
    return by_count[positional]


def _component_types() -> dict[str, type]:
    from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod

    return {
        "ssl": SSLMethod,
        "backbones": Backbone,
        "heads": Head,
        "datasets": Dataset,
        "metrics": Metric,
    }


def check_all(name: str) -> Iterator[str]:
    """Check every component of this name, or else the observer and command; yields its type after each.

    Raises:
        AssertionError: a check failed. UsageError: no such component.
    """
    from ssl_seg.plugins import load_plugins

    plugins = load_plugins()
    registry = plugins.registry
    kinds = [kind for kind in KINDS if registry.providers(kind, name)]
    if names_code(name):
        name = TypedName(name)
        kinds = [kind_of(registry.factory("ssl", name))]
    packaged = {} if kinds else dict(_packaged(plugins, name))
    if not kinds and not packaged:
        known = [known for kind in KINDS for known in registry.names(kind)]
        raise UsageError(f"no component named {name!r}{did_you_mean(name, known)}", next="ssl-seg list")
    for kind in kinds:
        check(registry, kind, name)
        yield kind
    for kind, run in packaged.items():
        run()
        yield kind


def _packaged(plugins: "PluginManager", name: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """The checks of an observer and of a command, by the name of its entry point."""
    from ssl_seg.testing.commands import check_command
    from ssl_seg.testing.observers import check_observer

    for key, module in plugins.manager.list_name_plugin():
        if key.rpartition(":")[2] == name and plugins.is_observer(key):
            yield "observer", partial(check_observer, module)
    for point, _ in iter_entry_points("ssl_seg.commands", lambda trouble: None):
        if point.name == name:
            yield "command", lambda point=point: check_command(point.load())  # type: ignore[misc]
