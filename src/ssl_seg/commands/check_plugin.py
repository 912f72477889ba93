"""`python -m ssl_seg.commands.check_plugin NAME`: the conformance kit on one component of the registry."""

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch

from ssl_seg import testing
from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.commands import process
from ssl_seg.commands.list_plugins import PASSED
from ssl_seg.errors import PluginError, SslSegError, UsageError, did_you_mean
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import KINDS, Registry
from ssl_seg.utils.code_names import TypedName, names_code
from ssl_seg.utils.entry_points import brief
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.progress import echo, show_error

NOUNS: dict[str, type] = {
    "ssl": SSLMethod,
    "backbones": Backbone,
    "heads": Head,
    "datasets": Dataset,
    "metrics": Metric,
}


def check(registry: Registry, kind: str, name: str) -> None:
    """Hold one component to its contract.

    Raises:
        AssertionError: a rule is broken; the text says which.
    """
    factory = registry.factory(kind, name)
    if kind == "datasets":
        testing.check_dataset(factory("", "") if name == "demo" else factory(".", ""))
    elif kind == "metrics":
        testing.check_metric(factory, fill_bank)
    else:
        kit: dict[str, Callable[[Any], None]] = {
            "ssl": testing.check_method,
            "backbones": testing.check_backbone,
            "heads": testing.check_head,
        }
        kit[kind](factory)


def fill_bank(metric: Metric) -> None:
    """Give a metric that compares with a bank of features one."""
    if hasattr(metric, "fill"):
        generator = torch.Generator().manual_seed(7)
        metric.fill(torch.randn(30, 3, generator=generator), torch.arange(30) % 3)


def kind_of(factory: Callable[..., Any]) -> str:
    """What a factory that no registry knows makes: by the class it is or returns, else by its arguments.

    Raises:
        UsageError: it looks like none of the five kinds.
    """
    made = factory if isinstance(factory, type) else inspect.signature(factory).return_annotation
    for kind, noun in NOUNS.items():
        if isinstance(made, type) and issubclass(made, noun):
            return kind
    parameters = inspect.signature(factory).parameters.values()
    given = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    by_count = {0: "backbones", 1: "ssl", 2: "datasets", 3: "heads"}
    if given not in by_count:
        raise UsageError(
            f"cannot determine the component type of {factory!r}",
            next="annotate its return type, for example `-> SSLMethod`",
        )
    return by_count[given]


def main(name: str) -> int:
    """Check every component of this name; the exit code."""
    try:
        with fenced():
            _check_all(name)
    except SslSegError as error:
        return _report(error)
    except AssertionError as error:
        return _report(PluginError(f"{name} failed a check: {error}"))
    except Exception as error:  # foreign code
        place = traceback.extract_tb(error.__traceback__)[-1]
        return _report(PluginError(f"{name}: {brief(error)}", where=f"{place.filename}:{place.lineno}"))
    return 0


def _check_all(name: str) -> None:
    registry = load_plugins().registry
    kinds = [kind for kind in KINDS if registry.sources(kind, name)]
    if names_code(name):
        name = TypedName(name)
        kinds = [kind_of(registry.factory("ssl", name))]
    if not kinds:
        known = [known for kind in KINDS for known in registry.names(kind)]
        raise UsageError(f"no component named {name!r}{did_you_mean(name, known)}", next="ssl-seg list")
    for kind in kinds:
        check(registry, kind, name)
        echo(f"{name} ({kind}) {PASSED}")


def _report(error: SslSegError) -> int:
    show_error(error)
    return error.code


if __name__ == "__main__":
    process.run_and_exit(lambda: sys.exit(main(sys.argv[1])))
