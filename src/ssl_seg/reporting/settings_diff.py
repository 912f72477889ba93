"""Configuration, data and environment of runs."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssl_seg.reporting.records import ReportData, ReportRun

DATA_HEAD = ["role", "path", "images", "skipped", "fingerprint", "stages"]
MACHINE_HEAD = ["device", "versions", "runs"]
_SHOWN_ELSEWHERE = ("seed", "out", "config", "resume", "train", "val", "data", "probe")


@dataclass(frozen=True)
class SettingsDiff:
    """The flags of all stages of a command: those that differ, and those in common."""

    command: str
    head: list[str]
    differing: list[tuple[str, list[str]]]
    shared: list[tuple[str, str]]

    def grid(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of the flags that differ."""
        return ["setting", *self.head], [[key, *values] for key, values in self.differing]


def settings_diff(collected: ReportData, command: str) -> SettingsDiff:
    """Return the flags of a command's stages, except paths of data, which have their own table."""
    stages = [stage for stage in collected.of(command) if any(run.settings for run in stage.runs)]
    names = {str(run.folder): f"{run.name} ({run.folder.name})" for run in collected.runs}
    flat = [[_all(run) for run in stage.runs if run.settings] for stage in stages]
    keys = dict.fromkeys(
        key
        for each in flat
        for flags in each
        for key in flags
        if key not in _SHOWN_ELSEWHERE and not (command == "train" and key.startswith("views."))
    )
    differing, shared = [], []
    for key in keys:
        texts = [[shown_setting(flags.get(key)) for flags in each] for each in flat]
        values = [" | ".join(dict.fromkeys(names.get(text, text) for text in each)) for each in texts]
        if len(set(values)) > 1:
            differing.append((key, values))
        else:
            shared.append((key, values[0]))
    return SettingsDiff(command, [stage.label for stage in stages], differing, shared)


def _all(run: ReportRun) -> dict[str, Any]:
    """Return flags and all component options, options with their parsed values."""
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


def shown_setting(value: Any) -> str:
    """A value of a flag or an option as it is shown."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown_setting, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40,}", value):
        return f"{value[:12]}…"  # a digest; run.toml has all of it
    return "–" if value in (None, "") else str(value)


def data_rows(collected: ReportData) -> list[tuple[str, str, str, str, str, str]]:
    """Return role, path, images, skipped, fingerprint, and the stages of each dataset."""
    rows: dict[tuple[str, str, str, str, str], dict[str, None]] = {}
    for run in collected.runs:
        for role, known in run.record.items():
            if isinstance(known, dict) and "fingerprint" in known:
                where = shown_setting(run.settings.get(role))
                counts = (str(known.get("images", "n/a")), str(known.get("skipped", "n/a")))
                rows.setdefault((role, where, *counts, str(known["fingerprint"])), {})[run.stage] = None
    return [(*key, ", ".join(stages)) for key, stages in rows.items()]


def machine_rows(collected: ReportData) -> list[tuple[str, str, str]]:
    """Return devices, versions, and the runs with them."""
    rows: dict[tuple[str, str], list[str]] = {}
    for run in collected.runs:
        versions = run.record.get("versions")
        if isinstance(versions, dict):
            text = ", ".join(f"{name} {version}" for name, version in versions.items())
            rows.setdefault((str(run.record.get("device", "n/a")), text), []).append(run.name)
    every = len(collected.runs)
    return [(*key, "all runs" if len(names) == every else "; ".join(names)) for key, names in rows.items()]
