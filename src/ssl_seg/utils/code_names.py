"""Names that are code in a file, `file.py:Name`: only what a person has typed is ever imported."""

import hashlib
import importlib.util
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ssl_seg.errors import PluginError, SslSegError, UsageError, WeightsError, did_you_mean
from ssl_seg.utils.foreign import know
from ssl_seg.utils.home import expanded
from ssl_seg.utils.importing import ImportFault, import_fence

# where a person types a name of each kind
_FLAGS = {
    "ssl": "--ssl ",
    "backbones": "--backbone ",
    "heads": "--head ",
    "metrics": "--metric ",
    "datasets": "",
}


class TypedName(str):
    """A name as a person typed it: on the command line, in their own TOML file, or in Python.

    What is read from a weight file, a checkpoint or a `run.toml` is a plain `str`, and stays one however
    far it is passed on. So nobody has to remember where a name came from.
    """

    __slots__ = ()


class FoundName(str):
    """A name of a component or of an option as a weight file has it: where it means nothing, the file is wrong.

    Attributes:
        file: that says so.
    """

    file: Path

    @classmethod
    def of(cls, name: str, file: Path) -> "FoundName":
        """The name, which remembers its file."""
        made = cls(name)
        made.file = file
        return made


def unknown(name: str, what: str, *, where: str | None = None, next: str | None = None) -> SslSegError:
    """The error for a name that means nothing: of the file that says it, or else of the command line."""
    if isinstance(name, FoundName):
        return WeightsError(what, where="\n".join(filter(None, (str(name.file), where))), next=next)
    return UsageError(what, where=where, next=next)


def folded(name: str) -> str:
    """A name as it is compared: case does not matter, nor whether words are joined by hyphens or underscores."""
    return name.casefold().replace("-", "_")


def names_code(name: object) -> bool:
    """Whether a name is of the form `file.py:Name`."""
    return isinstance(name, str) and ".py:" in name


def refuse_code(name: str, kind: str, where: object = None) -> None:
    """Let a name pass unless it is code that nobody has typed.

    Args:
        name: of a component.
        kind: of the component; see `KINDS` in the registry.
        where: the file, or the published weights, that names it.

    Raises:
        WeightsError: it is such; with the flag to type.
    """
    if names_code(name) and not isinstance(name, TypedName):
        raise WeightsError(
            f"{name!r} is code named by a file: not imported",
            where=None if where is None else str(where),
            next=f"{_FLAGS[kind]}{shlex.quote(name)}  # if you trust this code",
        )


def same_code(one: object, other: object) -> bool:
    """Whether two values are equal; of two names of code, but for the folder in which the file lies."""
    return bool(_without_folder(one) == _without_folder(other))


def same_name(one: object, other: object) -> bool:
    """Whether two names mean the same component: `ResNet50` is `resnet50`; of code, see `same_code`."""
    if names_code(one) or not (isinstance(one, str) and isinstance(other, str)):
        return same_code(one, other)
    return folded(one) == folded(other)


def _without_folder(value: object) -> object:
    if not (isinstance(value, str) and names_code(value)) or "," in value:
        return value
    file, _, rest = value.partition(".py:")
    return Path(file).name, rest


def resuming(command: str, run: Path, config: Mapping[str, Any]) -> str:
    """The command that goes on with a run; the code that it was given must be named again.

    Args:
        command: `train`, `classify` or `segment`.
        run: the folder.
        config: the settings of the run.
    """
    words = ["ssl-seg", command]
    for flag, value in config.items():
        if names_code(value):
            words += [value] if flag in ("data", "train") else [f"--{flag.replace('_', '-')}", value]
    return shlex.join([*words, "--resume", "--out", str(run)])


def name_it_again(value: str, path: Path, again: str) -> NoReturn:
    """In place of the value of a flag: a run was started with code, which its `run.toml` cannot vouch for.

    Raises:
        WeightsError: always.
    """
    raise WeightsError(
        f"{value!r} is code that the run was started with: not imported unless named again",
        where=str(path),
        next=f"{again}  # if you trust this code",
    )


def load_named(name: str) -> Any:
    """What `file.py:Name` is.

    Raises:
        UsageError: no such file, or no such name in it.
        PluginError: it cannot be imported.
    """
    file, _, attribute = name.rpartition(":")
    path = expanded(file)
    if not path.is_file():
        raise UsageError(f"file not found: {path}", where=name)
    module = _module_of(path)
    if not hasattr(module, attribute):
        own = [key for key in vars(module) if not key.startswith("_")]
        raise UsageError(f"{path} has no {attribute!r}{did_you_mean(attribute, own)}")
    return getattr(module, attribute)


def _module_of(path: Path) -> ModuleType:
    """The module of a file, imported once however often it is asked for.

    Raises:
        PluginError: it cannot be imported.
    """
    name = f"ssl_seg_file_{hashlib.sha256(bytes(path.resolve())).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    know(name, str(path))
    try:
        with import_fence(str(path)):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ImportFault):
            raise PluginError(f"cannot import {path}: {error}") from error.__cause__
        raise
    return module
