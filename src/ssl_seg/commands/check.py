"""`python -m ssl_seg.commands.check NAME`: the conformance kit on one component of the registry."""

import sys
from collections.abc import Callable
from typing import Any

import torch

from ssl_seg import testing
from ssl_seg.base import Metric, SSLMethod
from ssl_seg.errors import SslSegError, UsageError, render
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import KINDS, Registry


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


def main(name: str) -> int:
    """Check every component of this name; the exit code."""
    registry = load_plugins().registry
    kinds = [kind for kind in KINDS if registry.sources(kind, name)]
    if ".py:" in name:
        factory = registry.factory("ssl", name)
        method = isinstance(factory, type) and issubclass(factory, SSLMethod)
        kinds = ["ssl"] if method else ["backbones"]
    try:
        if not kinds:
            raise UsageError(f"nothing is called {name!r}", next="ssl-seg list")
        for kind in kinds:
            check(registry, kind, name)
            print(f"{name} ({kind}) keeps the contract")
    except AssertionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except SslSegError as error:
        print(render(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
