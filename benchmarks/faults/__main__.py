"""Hurt ssl-seg in every way we know, and count what it does not survive.

    python -m benchmarks.faults [--only NAME | --skip NAME] [--trials N] [--minutes M] [--seed S] [--jobs J] [--out FILE]

Prints a table of campaigns with their trials and failures, and each kind of failure with a case that
shows it; `--only NAME --case TEXT` repeats the cases whose name holds a text. `--minutes 8 --out FILE --resume`,
again and again, is the whole in parts. Ends with 1 if there are failures, with 2 if a campaign has not noticed
that a protection was removed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults import damage, disk, flags, hostile, images, kills, plugins
from benchmarks.faults.campaign import BROKE, Campaign, Result, run, sample
from benchmarks.faults.lab import Lab
from benchmarks.faults.table import failures_of, table_of

CAMPAIGNS = [each.CAMPAIGN for each in (kills, damage, images, hostile, plugins, disk, flags)]


def main(words: Sequence[str] | None = None) -> int:
    """Run the campaigns that were asked for; returns the exit code."""
    asked = _arguments().parse_args(words)
    known = [each.name for each in CAMPAIGNS]
    only, skip = asked.only.split(",") if asked.only else known, asked.skip.split(",") if asked.skip else []
    chosen = [each for each in CAMPAIGNS if each.name in only and each.name not in skip]
    if unknown := {*only, *skip} - {*known}:
        print(f"no campaign {', '.join(sorted(unknown))!r}; there are {', '.join(known)}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=asked.folder))
    lab = Lab(folder, asked.jobs)
    results = _earlier(asked)
    seconds = None if asked.minutes is None else 60 * asked.minutes / len(chosen)
    try:
        for campaign in chosen:
            _run(campaign, lab, asked, seconds, results.setdefault(campaign.name, Result()))
    finally:
        lab.close()
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join([table_of(chosen, results), *failures_of(results, asked.seed)])
    print(text)
    if asked.out:
        Path(asked.out).write_text(json.dumps(_as_json(results), indent=1) + "\n")
    blind = any(result.blind for result in results.values())
    return 2 if blind else int(any(result.failures for result in results.values()))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"of {', '.join(each.name for each in CAMPAIGNS)}; commas between")
    parser.add_argument("--skip", help="the others")
    parser.add_argument("--case", help="the cases whose name holds this, and no control")
    parser.add_argument("--trials", type=int, help="so many of each campaign, some of every kind")
    parser.add_argument("--minutes", type=float, help="as many as fit, beside what they are made of")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--out", help="JSON file for the numbers and the failures")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed, as FILE says")
    parser.add_argument("--folder", help="where trials are made, in a folder that is removed")
    parser.add_argument("--keep", action="store_true", help="leave that folder, to look into it")
    return parser


def _earlier(asked: argparse.Namespace) -> dict[str, Result]:
    """What has passed by now; failures are tried again."""
    if not (asked.resume and asked.out and Path(asked.out).exists()):
        return {}
    told = json.loads(Path(asked.out).read_text())
    return {
        name: Result(seconds=each["seconds"], controls=each["controls"], passed=set(each["passed"]))
        for name, each in told.items()
        if not each["blind"]
    }


def _run(
    campaign: Campaign, lab: Lab, asked: argparse.Namespace, seconds: float | None, result: Result
) -> None:
    started = time.monotonic()
    if not (asked.case or result.controls):
        found = list(run(campaign.controls(lab), asked.jobs))
        result.controls = len(found)
        result.blind = [each.name for each, wrong in found if not wrong or wrong.startswith(BROKE)]
    cases = list(campaign.cases(lab, asked.seed))
    result.planned = len(cases)
    if asked.case:
        named = [case for case in cases if case.name == asked.case]
        chosen = named or [case for case in cases if asked.case in case.name]
    else:
        chosen = sample(cases, asked.trials, asked.seed)
    left = [case for case in chosen if case.name not in result.passed]
    until = None if seconds is None else time.monotonic() + seconds
    for case, wrong in run(left, asked.jobs, until):
        if wrong:
            result.failures.append((case, wrong))
        else:
            result.passed.add(case.name)
        _progress(campaign, result)
    result.seconds += time.monotonic() - started


def _progress(campaign: Campaign, result: Result) -> None:
    if sys.stderr.isatty():
        print(f"\r{campaign.name}: {result.done}, {len(result.failures)} failed ", end="", file=sys.stderr)


def _as_json(results: dict[str, Result]) -> dict[str, object]:
    return {
        name: {
            "planned": result.planned,
            "trials": result.done,
            "seconds": round(result.seconds, 1),
            "controls": result.controls,
            "blind": result.blind,
            "passed": sorted(result.passed),
            "failures": [{"kind": case.kind, "case": case.name, "wrong": w} for case, w in result.failures],
        }
        for name, result in results.items()
    }


if __name__ == "__main__":
    sys.exit(main())
