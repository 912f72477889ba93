"""Values of flags: `-o` options, and what a TOML file or a command's parameters give."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_seg.engine.run_settings import check_batch_split
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.toml import to_toml

GROUPS = ("ssl", "views", "backbone", "head", "data", "val", "extra", "probe", "metric")
OF_PRETRAINING = ("ssl", "views", "backbone", "data", "probe")
OF_FINETUNING = ("backbone", "head", "data", "val", "extra", "metric")
OF_IMAGES = ("data",)
PARTS = {
    "train": OF_PRETRAINING,
    "classify": OF_FINETUNING,
    "segment": OF_FINETUNING,
    "pseudo-label": OF_IMAGES,
}
_OPTIONAL = ("val", "extra", "probe")  # images that a run may do without
_OF_THE_CALL = ("config", "resume", "auto_resume", "option")  # no file says them


def config_from_flags(values: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """The values of a training command's parameters as `run.toml` holds them, `-o` of these parts read as `o`.

    All of them have been typed by a person: what `run.toml` names at `--resume` gets no further than `commands.config`.

    Raises:
        UsageError: a malformed `-o` or one of images that are not given, a batch that cannot be cut, or a value that is no Unicode text.
    """
    config = {
        name: TypedName(value) if isinstance(value, str | Path) else value for name, value in values.items()
    }
    for name in (*_OF_THE_CALL, "out", "progress"):
        del config[name]
    if (values["resume"] or values["auto_resume"]) and config["dry_run"]:
        raise UsageError("--dry-run and --resume exclude each other", next="one of them")
    if values["auto_resume"] and values["out"] is None:
        raise UsageError("--auto-resume needs --out", next="--auto-resume --out runs/first")
    config["device"] = device_of(config["device"], bool(config.pop("cpu")))
    # a run of an earlier version may have options of parts that its command never had
    config["o"] = options = read_options(values["option"] or [], GROUPS if values["resume"] else parts)
    for part in _OPTIONAL if not values["resume"] else ():
        if part in options and not config[part]:
            raise UsageError(f"-o {part}.{next(iter(options[part]))} needs --{part}", next=f"--{part} FOLDER")
    check_batch_split(config, 1)
    to_toml(config)  # what run.toml cannot hold is found before the images are read
    return config


def device_of(device: str, cpu: bool) -> str:
    """The value of `--device` and `--cpu` together.

    Raises:
        UsageError: they exclude each other.
    """
    if cpu and device not in ("auto", "cpu"):
        raise UsageError(f"--cpu and --device {device} exclude each other", next="one of them")
    return "cpu" if cpu else device


def read_options(
    texts: list[str], parts: Sequence[str] = GROUPS, images: str | None = None
) -> dict[str, dict[str, str]]:
    """`["ssl.decay=0.99"]` -> `{"ssl": {"decay": "0.99"}}`.

    Args:
        texts: of `-o`.
        parts: those that the command has; options of another one would change nothing.
        images: of `--images`, which is short for `-o data.images=...`.

    Raises:
        UsageError: malformed, or not of a part that has options.
    """
    options: dict[str, dict[str, str]] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", text)
        if not match:
            raise UsageError(f"not an option: {text!r}", next="-o ssl.decay=0.99")
        group, key, value = match.groups()
        if group not in parts:
            raise UsageError(
                f"no part {group!r} has options here{did_you_mean(group, parts)}",
                where=text,
                next=f"one of {', '.join(parts)}",
            )
        options.setdefault(group, {})[key] = value
    if images is not None:
        options.setdefault("data", {})["images"] = images
    return options


def defaults_from(
    values: Mapping[str, Any], path: Path, parameters: Iterable[str]
) -> tuple[dict[str, str], list[str]]:
    """What a TOML file says, as the shell would have said it: values of flags, and texts for `-o`.

    Args:
        values: what was read from the file at `path`.

    Raises:
        UsageError: a key that is no flag, or a value that no flag takes; with its line.
    """
    values = {key: value for key, value in values.items() if key != "record"}
    options = [
        f"{group}.{key}={as_text(value)}"
        for group, table in _table(path, "o", values.pop("o", {})).items()
        for key, value in _table(path, f"o.{group}", table).items()
    ]
    defaults: dict[str, str] = {}
    flags = {name.replace("-", "_") for name in parameters} - {*_OF_THE_CALL, "help"}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in flags:
            raise UsageError(
                f"unknown key {key!r}{did_you_mean(name, [*flags, 'o'])}", where=f"{path}{line_of(path, key)}"
            )
        if isinstance(value, dict | list):
            raise UsageError(f"{key!r} takes one value", where=f"{path}{line_of(path, key)}")
        if name == "cpu" and "device" in flags:  # where --device is typed, it holds
            name, value = "device", "cpu" if value is True else values.get("device", "auto")
        defaults[name] = as_text(value)
    return defaults, options


def _table(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = f"{path}{line_of(path, key.rpartition('.')[2])}"
        raise UsageError(f"{key!r} must be a table", where=where, next="o.ssl.decay = 0.99")
    return value


def as_text(value: Any) -> str:
    """A value of a TOML file, as the shell would have it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def line_of(path: Path, key: str) -> str:
    if not path.exists():  # it is read from a checkpoint
        return ""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.split("=")[0].strip().strip("[]").replace("-", "_").split(".")
        if key.replace("-", "_") in (word.strip().strip("\"'") for word in words):
            return f", line {number}"
    return ""
