"""What `ssl-seg list NAME` prints of a component."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ssl_seg.utils.text import aligned, shown

if TYPE_CHECKING:
    from ssl_seg.registry import Registry


def describe(kind: str, name: str, factory: Callable[..., Any], sources: list[Any]) -> Iterator[str]:
    """Its documentation and options, line by line; of a method also its recipe, and both as its paper has them."""
    from ssl_seg.utils.options import factory_options

    yield f"{name} ({kind}, {', '.join(map(str, sources))})"
    yield from (inspect.getdoc(getattr(factory, "func", factory)) or "").split("\n")
    options, paper = factory_options(factory), getattr(factory, "paper", None)
    if paper is not None:
        defaults = {name: option.default for name, option in options.items()}
        kinds = {name: inspect.formatannotation(option.annotation) for name, option in options.items()}
        yield from _table("Options", defaults, {**defaults, **paper.options}, kinds)
        yield from _recipes(factory, paper)
    elif options:
        yield from ("", "Options:")
        for option in options.values():
            yield f"  {option.name} = {option.default!r}  ({inspect.formatannotation(option.annotation)})"


def methods_table(registry: "Registry") -> list[str]:
    """The methods and what kind each is, line by line."""
    from ssl_seg.workflows.method_list import method_summaries

    rows = [[m.name, m.family, m.network, m.views, m.needs, m.packages] for m in method_summaries(registry)]
    head = ["method", "family", "network", "views (x side)", "needs", "package"]
    return aligned([head, *([cell or "-" for cell in map(shown, row)] for row in rows)])


def _recipes(factory: Any, paper: Any) -> Iterator[str]:
    from ssl_seg.engine.recipe import values_of

    yield from _table("Recipe", values_of(factory.recipe), values_of(paper.recipe))
    size = {"epochs": paper.epochs, "images per batch": paper.batch_size}
    run = " of ".join(f"{count} {what}" for what, count in size.items() if count)
    yield from (
        "",
        f"-o ssl.recipe=paper: the paper's values{run and f', for {run}'}. Other options and flags override them.",
    )


def _table(
    title: str, defaults: Mapping[str, Any], papers: Mapping[str, Any], kinds: Mapping[str, str] | None = None
) -> Iterator[str]:
    names = dict.fromkeys([*defaults, *papers])
    rows = [[title, "default", "paper", *(["type"] if kinds else [])]]
    for name in names:
        values = [_shown(table.get(name, "")) for table in (defaults, papers)]
        rows.append([f"  {name}", *values, *([kinds[name]] if kinds else [])])
    yield from ("", *aligned(rows))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
