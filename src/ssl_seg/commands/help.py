"""What `--help` prints: flags in named groups, without the ranges that nobody needs to know."""

import re
from typing import Any

from typer.core import TyperCommand

# of a flag's range: bounds that are technical limits, and lower bounds that its text implies
_DESCRIBED = re.compile(r"\[default: \((.*)\)(?=\]|; )")  # a default in words
_TECHNICAL = re.compile(r"(?:; )?(?:[\d.]+<=)?x(?:<=\d{5,}|>=[\d.]+)(?=\]$|; required\]$)")


class Command(TyperCommand):
    """A command whose flags are shown in groups, as `rich_help_panel` names them."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the groups in the order of their first flag; those without a group come last."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rest: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if not (record := parameter.get_help_record(ctx)):
                continue
            is_argument = parameter.param_type_name == "argument"
            group = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None)
            (groups.setdefault(group, []) if group else rest).append(_plain(*record))
        for group, records in [*groups.items(), ("Options", rest)]:
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


def _plain(name: str, text: str) -> tuple[str, str]:
    """A line of help without technical limits."""
    text = _TECHNICAL.sub("", _DESCRIBED.sub(r"[default: \1", text))
    return name.replace(" range>", ">"), text.removesuffix("[]").rstrip()
