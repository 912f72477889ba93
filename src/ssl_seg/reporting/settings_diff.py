"""How runs were made: their flags, what they read, and on which machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssl_seg.reporting.records import Facts, RunFacts

_QUIET = ("seed", "out", "config", "resume", "train", "val", "data", "probe")


@dataclass(frozen=True)
class Settings:
    """The flags of all stages of a command: those that differ, and those that do not."""

    command: str
    head: list[str]
    differing: list[tuple[str, list[str]]]
    shared: list[tuple[str, str]]


def settings_of(facts: Facts, command: str) -> Settings:
    """The flags of a command's stages; paths of data have a table of their own."""
    stages = [stage for stage in facts.of(command) if any(run.settings for run in stage.runs)]
    names = {str(run.folder): f"{run.name} ({run.folder.name})" for run in facts.runs}
    flat = [[_all(run) for run in stage.runs if run.settings] for stage in stages]
    keys = dict.fromkeys(key for each in flat for flags in each for key in flags if key not in _QUIET)
    differing, shared = [], []
    for key in keys:
        told = [[_shown(flags.get(key)) for flags in each] for each in flat]
        values = [" | ".join(dict.fromkeys(names.get(text, text) for text in each)) for each in told]
        if len(set(values)) > 1:
            differing.append((key, values))
        else:
            shared.append((key, values[0]))
    return Settings(command, [stage.label for stage in stages], differing, shared)


def _all(run: RunFacts) -> dict[str, Any]:
    """Flags, and every option of every part: of those that were given, the value that was read."""
    resolved = run.record.get("resolved")
    options = dict(_flat(resolved)) if isinstance(resolved, dict) else {}
    flags = {key: value for key, value in _flat(run.settings) if key.removeprefix("o.") not in options}
    return flags | options


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, "") else str(value)


def data_rows(facts: Facts) -> list[tuple[str, str, str, str, str, str]]:
    """What was read: role, where, images, skipped, fingerprint, and the stages that read it."""
    rows: dict[tuple[str, str, str, str, str], dict[str, None]] = {}
    for run in facts.runs:
        for role, known in run.record.items():
            if isinstance(known, dict) and "fingerprint" in known:
                where = _shown(run.settings.get(role))
                counts = (str(known.get("images", "n/a")), str(known.get("skipped", "n/a")))
                rows.setdefault((role, where, *counts, str(known["fingerprint"])), {})[run.stage] = None
    return [(*key, ", ".join(stages)) for key, stages in rows.items()]


def machine_rows(facts: Facts) -> list[tuple[str, str, str]]:
    """Device, versions, and the runs that had them."""
    rows: dict[tuple[str, str], list[str]] = {}
    for run in facts.runs:
        versions = run.record.get("versions")
        if isinstance(versions, dict):
            text = ", ".join(f"{name} {version}" for name, version in versions.items())
            rows.setdefault((str(run.record.get("device", "n/a")), text), []).append(run.name)
    every = len(facts.runs)
    return [(*key, "all runs" if len(names) == every else "; ".join(names)) for key, names in rows.items()]
