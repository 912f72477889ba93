"""What campaigns have found, for people."""

import shlex
from collections.abc import Sequence

from benchmarks.faults.campaign import Campaign, Result

_WIDE = 300


def table_of(campaigns: Sequence[Campaign], results: dict[str, Result]) -> str:
    """A line for each campaign."""
    lines = [f"{'campaign':10} {'trials':>13} {'failures':>9} {'kinds':>6} {'controls':>9} {'s/trial':>8}"]
    for campaign in campaigns:
        result = results[campaign.name]
        trials = f"{result.done} of {result.planned}"
        seen = f"{result.controls - len(result.blind)}/{result.controls}"
        each = result.seconds / max(1, result.done)
        lines.append(
            f"{campaign.name:10} {trials:>13} {len(result.failures):9} {len(result.grouped()):6} "
            f"{seen:>9} {each:8.2f}"
        )
    return "\n".join(lines)


def failures_of(results: dict[str, Result], seed: int) -> list[str]:
    """Each kind of failure: how often, what, and its shortest case; and the controls that passed."""
    lines = []
    for name, result in results.items():
        for blind in result.blind:
            lines.append(f"\n{name}: CONTROL PASSED: nobody has noticed `{blind}`: the campaign is blind")
        for (kind, _), group in result.grouped().items():
            case, wrong = min(group, key=lambda failure: len(failure[0].name))
            again = f"python -m benchmarks.faults --only {name} --seed {seed} --case {shlex.quote(case.name)}"
            lines.append(f"\n{name}, {kind}: {len(group)}x {shortened(wrong)}\n  {again}")
    return lines


def shortened(text: str) -> str:
    """As much of a text as can be read at a glance."""
    return text if len(text) <= _WIDE else f"{text[:_WIDE]}..."
