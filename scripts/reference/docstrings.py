"""Docstrings and signatures as Markdown."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from itertools import groupby
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")
_WIDTH = 88


def sections(thing: Any) -> dict[str, str]:
    """The parts of a docstring: its text under "", the others by their name, without indentation."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        if match := _SECTION.match(line):
            name = match[1]
            found[name] = []
        elif name and line and not line.startswith(" "):
            name = ""
            found[name].append(line)
        else:
            found[name].append(line)
    return {key: textwrap.dedent("\n".join(lines)).strip() for key, lines in found.items()}


def entries(text: str) -> dict[str, str]:
    """What `Args`, `Attributes` or `Raises` say of each name; `size, seed: text` says it of both."""
    names: list[str] = []
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := _ENTRY.match(line):
            names = match[1].split(", ")
            said |= {name: [match[2]] for name in names}
        elif names:
            for name in names:
                said[name].append(line.strip())
    return {name: " ".join(lines).strip() for name, lines in said.items()}


def escape(text: str) -> str:
    """Text whose stars, brackets and underscores are no Markdown; what stands in backquotes stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else re.sub(r"([*_<\[|])", r"\\\1", part) for part in parts)


def markdown(thing: Any) -> str:
    """A docstring: its text, then a list for each of the other parts."""
    parts = []
    for name, text in sections(thing).items():
        if not name:
            lines = text.splitlines()
            parts.append("\n".join(line if line.startswith("    ") else escape(line) for line in lines))
        elif told := entries(text):
            together = groupby(told.items(), key=lambda item: item[1])
            items = [f"- {_names(names)}: {escape(said)}" for said, names in together]
            parts.append("\n".join([f"**{name}**", "", *items]))
        else:
            parts.append(f"**{name}** {escape(' '.join(text.split()))}")
    if told := flags(thing):
        items = [f"- `{name}`: {escape(flag.help)}" for name, flag in told.items()]
        parts.append("\n".join(["**Args**", "", *items]))
    return "\n\n".join(part for part in parts if part)


def _names(told: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}`" for name, _ in told)


def signature(thing: Any, name: str) -> str:
    """How to call a function or class, as its source says it; one parameter per line if it is long."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    if isinstance(tree, ast.ClassDef):
        if is_dataclass(thing):
            return f"class {name}(\n" + "".join(f"    {field},\n" for field in _fields(thing)) + ")"
        inits = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        if not inits:
            return f"class {name}"
        return f"class {name}" + _parameters(inits[0].args, "")
    assert isinstance(tree, ast.FunctionDef)
    result = f" -> {ast.unparse(tree.returns)}" if tree.returns else ""
    for arg in (*tree.args.args, *tree.args.kwonlyargs):
        if flag := flags(thing).get(arg.arg):
            arg.annotation = ast.parse(flag.type, mode="eval").body
    return f"{name}{_parameters(tree.args, result, len(name))}"


class Flag(NamedTuple):
    """A parameter of a command as Python sees it: its plain type, and its help text."""

    type: str
    help: str


def flags(thing: Any) -> dict[str, Flag]:
    """The parameters of a command's function by name; empty for other functions."""
    try:
        hints = get_type_hints(thing, include_extras=True)
    except (NameError, TypeError):  # a type that only type checkers import
        return {}
    return {
        name: Flag(_written(hint.__origin__), told)
        for name, hint in hints.items()
        if get_origin(hint) is Annotated and (told := getattr(hint.__metadata__[0], "help", None))
    }


def _written(annotation: Any) -> str:
    """A type as code writes it: `Path | None`."""
    text = re.sub(r"\b(typing|pathlib)\.", "", inspect.formatannotation(annotation))
    return re.sub(r"^Optional\[(.*)\]$", r"\1 | None", text)


def _fields(thing: type) -> list[str]:
    """The fields of a dataclass, its own and then those that it inherits."""
    found: dict[str, str] = {}
    for kind in filter(is_dataclass, thing.__mro__):
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign):
                found.setdefault(ast.unparse(node.target), ast.unparse(node))
    return list(found.values())


def _parameters(arguments: ast.arguments, result: str, before: int = 16) -> str:
    own = [arg for arg in arguments.args if arg.arg not in ("self", "cls")]
    cut = len(arguments.args) - len(arguments.defaults)
    defaults = dict(zip((arg.arg for arg in arguments.args[cut:]), arguments.defaults, strict=True))
    texts = [_parameter(arg, defaults.get(arg.arg)) for arg in own]
    if arguments.vararg:
        texts.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        texts.append("*")
    texts += [_parameter(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        texts.append(f"**{ast.unparse(arguments.kwarg)}")
    line = f"({', '.join(texts)}){result}"
    if len(line) + before <= _WIDTH:
        return line
    return "(\n" + "".join(f"    {text},\n" for text in texts) + f"){result}"


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(arg)
    return text if default is None else f"{text} = {ast.unparse(default)}"


def methods(thing: type) -> Iterator[tuple[str, Any]]:
    """The public methods that a class documents itself, in the order of its source."""
    for name, value in vars(thing).items():
        function = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, function
