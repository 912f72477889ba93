"""The pages of components: what is built in, with every option."""

import inspect
from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from docstrings import entries, escape, sections

KINDS = {
    "ssl": (
        "Methods",
        "`--ssl NAME`, options `-o ssl.KEY=VALUE`. [Choose a method](../methods.md).",
    ),
    "backbones": ("Backbones", "`--backbone NAME`, options `-o backbone.KEY=VALUE`."),
    "heads": ("Heads", "`--head NAME`, options `-o head.KEY=VALUE`."),
    "datasets": (
        "Datasets",
        "Detected, or `NAME:PATH`; options `-o data.KEY=VALUE`. [Data formats](../data.md).",
    ),
    "metrics": (
        "Metrics",
        "Options `-o metric.KEY=VALUE`, of `knn` `-o probe.KEY=VALUE`. [Interpreting results](../numbers.md).",
    ),
}

# options whose name says nearly all, where a docstring does not explain them
USUAL = {
    "attention": "squeeze and excitation over space and channels (`scse`) in every block.",
    "attention_width": "channels of the attention block.",
    "count": "number of images.",
    "dropout": "probability, before the last layer.",
    "pyramid_width": "channels of the pyramid.",
    "rates": "atrous rates.",
    "separable": "convolutions per channel and across channels, instead of full ones.",
    "width": "channels of the decoder.",
    "widths": "channels of the blocks.",
}


_TOP = """# Components

The built-in components. `ssl-seg list` also prints installed plugins; `ssl-seg list NAME` prints the documentation and options
of one component.
"""

_TOP_OF_BACKBONES = """# Backbones

Values of `--backbone`: the networks of the installed timm, here {}. All have the [same options](components.md#backbones).
"""


def components_page() -> str:
    """Every built-in component with its options; all of timm's networks are one."""
    parts = [_TOP]
    registry = built_in()
    for kind, (title, how) in KINDS.items():
        parts.append(f"## {title}\n\n{how}\n")
        if kind == "backbones":
            count = len(registry.names(kind))
            factory = registry.factory(kind, "resnet50")
            parts.append(
                f"### Any of timm's {count} networks\n\n[All names](backbones.md). Networks without "
                f"feature maps are rejected.\n\n{_component(factory)}\n"
            )
            continue
        for name in registry.names(kind):
            parts.append(f"### {name}\n\n{_component(registry.factory(kind, name))}\n")
    return "\n".join(parts)


def _component(factory: Callable[..., Any]) -> str:
    from ssl_seg.utils.options import factory_options

    function = getattr(factory, "func", factory)
    said = sections(function)
    about = entries(said.get("Args", ""))
    parts = ["\n".join(escape(line) for line in said[""].splitlines())]
    paper = getattr(factory, "paper", None)

    def row(option: inspect.Parameter) -> str:
        values = [_written(option.default)]
        values += [_written(paper.options.get(option.name, option.default))] if paper else []
        cells = [option.name, _values(option.annotation), *values]
        meaning = escape(about.get(option.name) or USUAL[option.name])
        return f"| {' | '.join(f'`{cell}`' for cell in cells)} | {meaning} |"

    rows = [row(option) for option in factory_options(factory).values()]
    if rows:
        heads = ["Option", "Values", "Default", *(["Paper"] if paper else []), "Meaning"]
        parts.append("\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows]))
    return "\n\n".join([*parts, *(_recipe(factory, paper) if paper else ())])


def _recipe(factory: Any, paper: Any) -> list[str]:
    """How a method is trained by default, and in its paper."""
    from ssl_seg.engine.recipe import values_of

    tables = values_of(factory.recipe), values_of(paper.recipe)
    keys = [key for key in dict.fromkeys(key for table in tables for key in table)]
    rows = [
        " | ".join([f"| {key}", *(_written(table.get(key, "")) for table in tables)]) + " |" for key in keys
    ]
    about = f"The paper's run: {paper.epochs} epochs of {paper.batch_size} images per batch."
    return ["\n".join(["| Recipe | Default | Paper |", "|---|---|---|", *rows]), about]


def _values(annotation: Any) -> str:
    """What may be written for an option, by its annotation: `standard, small`, `int, none`."""
    if annotation is type(None):
        return "none"
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return ", ".join(map(_values, get_args(annotation)))
    return inspect.formatannotation(annotation).replace("collections.abc.", "")


def _written(value: Any) -> str:
    """A default as it would be written after `-o`."""
    if isinstance(value, tuple):
        return ",".join(map(_written, value)) or "()"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def built_in() -> Any:
    """The registry without installed plugins."""
    from ssl_seg.plugins import BUILT_IN, PluginManager, built_in_modules

    plugins = PluginManager()
    for module in built_in_modules():
        plugins.register(module, module.__name__, BUILT_IN)
    return plugins.registry


def backbones_page() -> str:
    """All names of timm, by their first letter."""
    parts = [_TOP_OF_BACKBONES.format(import_module("timm").__version__)]
    names = built_in().names("backbones")
    for letter, members in groupby(names, key=lambda name: name[0]):
        parts.append(f"## {letter}\n\n" + ", ".join(f"`{name}`" for name in members) + "\n")
    return "\n".join(parts)
