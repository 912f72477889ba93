"""Write a plugin package with a working example component."""

import re
from collections.abc import Collection, Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import NamedTuple

from ssl_seg.errors import OutputInUseError, UsageError
from ssl_seg.registry import BUILT_IN
from ssl_seg.utils.files import atomic_path
from ssl_seg.utils.home import expanded

_PREFIX = "ssl-seg-"
_LONGEST = 24  # lines of the skeleton stay short


class Kind(NamedTuple):
    """A component type that can be created, by `--kind`.

    Attributes:
        registry: kind in the registry; "" if it has none.
        title: description for the README.
        use: a command that uses the component.
        group, target: of the entry point; the target follows the module name.
        listing: a command that lists the installed component.
        registered: a sentence on how it is registered.
    """

    registry: str
    title: str
    use: str
    group: str = "ssl_seg"
    target: str = ""
    listing: str = "ssl-seg list $name"
    registered: str = "Its `@hookimpl` function registers it."


_KINDS = {
    "method": Kind(
        "ssl", "An SSL method", "ssl-seg train demo:800 --ssl $name --backbone resnet18 --out runs/$name"
    ),
    "backbone": Kind("backbones", "A backbone", "ssl-seg train demo:800 --backbone $name --out runs/$name"),
    "head": Kind(
        "heads",
        "A head",
        "ssl-seg segment demo_masks:200 --val demo_masks:40 --backbone resnet18 --image-size 64 --head $name --out runs/$name",
    ),
    "dataset": Kind("datasets", "A dataset format", "ssl-seg train $name:photos --out runs/$name"),
    "metric": Kind(
        "metrics",
        "A metric",
        "ssl-seg classify demo:200 --val demo:100 --backbone resnet18 --image-size 64 --metric $name --out runs/$name",
    ),
    "observer": Kind(
        "",
        "An observer of runs",
        "ssl-seg train demo:800 --backbone resnet18 --epochs 2 --out runs/$name",
        listing="ssl-seg plugins",
    ),
    "command": Kind(
        "",
        "A command",
        "ssl-seg $name runs/first",
        group='"ssl_seg.commands"',
        target=":app",
        listing="ssl-seg $name --help",
        registered="The entry point in `pyproject.toml` registers it.",
    ),
}


class Skeleton(NamedTuple):
    """A package that was written: its folder, its module, what it is, and a command that uses it."""

    folder: Path
    module: str
    title: str
    command: str


def write_skeleton(
    name: str, kind: str, out: Path | None = None, *, commands: Collection[str] = ()
) -> Skeleton:
    """Write the package: one module, its test, metadata, README and license.

    Args:
        name: of the component, for example `my-method`.
        kind: method, backbone, head, dataset, metric, observer or command.
        out: folder; must not exist. `ssl-seg-NAME` by default.
        commands: names that a command cannot have.

    Raises:
        UsageError: an invalid name, or one that exists. OutputInUseError: the folder exists.
        ResourceError: it cannot be written.
    """
    words = name.removeprefix(_PREFIX)
    _refuse_words(words, name)
    # what is typed has hyphens, what stands in code has underscores
    component, package = words if kind == "command" else words.replace("-", "_"), _PREFIX + words
    folder = expanded(out or Path(package))
    if folder.exists() or folder.is_symlink():
        raise OutputInUseError(f"{folder} exists", next=f"ssl-seg new-plugin {name} --out OTHER_FOLDER")
    _refuse_taken(kind, component, package, commands)
    module, about = package.replace("-", "_"), _KINDS[kind]
    values = {
        "name": component,
        "package": package,
        "module": module,
        "title": component.title().replace("_", ""),
        "function": f"read_{component}",
        "what": about.title,
        "registered": about.registered,
        "group": about.group,
        "target": module + about.target,
        "listing": Template(about.listing).substitute(name=component),
        "use": Template(about.use).substitute(name=component),
    }
    _write(folder, {path: Template(text).substitute(values) for path, text in _parts(kind, module)})
    return Skeleton(folder, module, about.title, values["use"])


def _parts(kind: str, module: str) -> Iterator[tuple[str, str]]:
    """Where each file of the package goes, and its text with $names to be filled in."""
    skeleton = files("ssl_seg.workflows") / "skeleton"
    for path in ("pyproject.toml", "README.md", "LICENSE"):
        yield path, (skeleton / f"{path}.txt").read_text()
    yield f"src/{module}.py", (skeleton / f"{kind}.py.txt").read_text()
    yield f"tests/test_{module}.py", (skeleton / f"{kind}_test.py.txt").read_text()


def _refuse_words(words: str, requested: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", words) and len(words) <= _LONGEST:
        return
    suggestion = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-0123456789")[:_LONGEST].rstrip("-")
    raise UsageError(
        f"invalid plugin name {requested!r}: lowercase letters and digits, a letter first, `-` between words, "
        f"at most {_LONGEST} characters",
        next=f"ssl-seg new-plugin {suggestion}" if suggestion else None,
    )


def _refuse_taken(kind: str, component: str, package: str, commands: Collection[str]) -> None:
    from ssl_seg.plugins import load_plugins

    owners = [BUILT_IN] if kind == "command" and component in commands else []
    if _KINDS[kind].registry:
        owners += load_plugins().registry.providers(_KINDS[kind].registry, component)
    if owners:
        raise UsageError(
            f"{owners[0]} already provides a {kind} named {component!r}",
            next=f"ssl-seg new-plugin my-{component.replace('_', '-')} --kind {kind}",
        )
    if find_spec(package.replace("-", "_")):
        raise UsageError(f"package {package} is already installed", next="another name")


def _write(folder: Path, texts: dict[str, str]) -> None:
    """All files, or nothing.

    Raises:
        ResourceError: they cannot be written.
    """
    with atomic_path(folder) as tmp_path:
        for path, text in texts.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
