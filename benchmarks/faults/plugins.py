"""Plugins that are broken in every way: selected, each is an error with its name; unselected, it changes nothing."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.faults import material
from benchmarks.faults.broken_plugins import BROKEN
from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.lab import Lab
from benchmarks.faults.plugin_code import Broken
from benchmarks.faults.snapshot import differences, snapshot

NAME = "ssl-seg-broken"
_SHORT = "--batch-size 8 --epochs 1 --cpu --image-size 32"
SELECTED = {
    "ssl": f"train {{lab}}/photos --ssl broken --backbone tiny {_SHORT} --out out",
    "backbones": f"train {{lab}}/photos --backbone broken {_SHORT} --out out",
    "heads": f"classify {{lab}}/labelled --val {{lab}}/labelled-val --backbone tiny --head broken {_SHORT} --out out",
    "pixels": f"segment {{lab}}/pairs --val {{lab}}/pairs-val --backbone tiny --head broken {_SHORT} --out out",
    "datasets": f"train broken:{{lab}}/photos --backbone tiny {_SHORT} --out out",
    "metrics": f"classify {{lab}}/labelled --val {{lab}}/labelled-val --backbone tiny --metric broken {_SHORT} --out out",
    "command": "broken",
}


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Each plugin asked for, then each beside a run that does not ask for it."""
    for broken in BROKEN:
        if broken.kind in SELECTED:
            yield Case("selected", f"{broken.name}, selected", partial(selected, lab, broken))
        yield Case("not selected", f"{broken.name}, not selected", partial(unselected, lab, broken))


def selected(lab: Lab, broken: Broken, setup: Any = ()) -> str:
    """Ask for it."""
    place = _installed(lab, broken)
    words = SELECTED[broken.kind].format(lab=lab.folder).split()
    ended = lab.run(
        words, folder=place, log=place / "o.txt", path=[place / "site"], setup=setup, seconds=30.0
    )
    wrong = ended.bug()
    if not wrong and ended.code != 7:
        wrong = ended.told() if ended.code else "exit 0"
    elif not wrong and NAME not in ended.output and "broken" not in ended.output:
        wrong = f"the plugin is not named: {ended.told()}"
    if not wrong:
        lab.clear(place)
    return wrong


def unselected(lab: Lab, broken: Broken, setup: Any = ()) -> str:
    """Train without it, and ask which plugins there are."""
    place = _installed(lab, broken)
    given = {"folder": place, "path": [place / "site"], "setup": setup, "seconds": 30.0}
    ended = lab.run(lab.words("train", place / "run"), log=place / "o.txt", **given)
    wrong = ended.bug() or (ended.told() if ended.code else "")
    wrong = wrong or differences(lab.expected("train"), snapshot(place / "run"))
    if not wrong:
        ended = lab.run(["plugins"], log=place / "p.txt", **given)
        wrong = ended.bug()
        if not wrong and broken.refused and NAME not in ended.output.replace("_", "-"):
            wrong = "`ssl-seg plugins` does not name it"
    if not wrong:
        lab.clear(place)
    return wrong


def _installed(lab: Lab, broken: Broken) -> Any:
    place = lab.place("plugin")
    material.package(place / "site", NAME, broken.code, broken.entry, broken.metadata)
    for path in (place / "site").rglob("entry_points.txt"):
        if broken.raw:
            path.write_bytes(broken.raw)
    if broken.twice:
        material.package(place / "site", f"{NAME}-two", broken.code)
    return place


def controls(lab: Lab) -> Iterator[Case]:
    """A loader without its fence."""
    by_name = {broken.name: broken for broken in BROKEN}
    setup = [("benchmarks.faults.controls:remove", ["plugins are loaded unguarded"])]
    broken = by_name["it cannot be imported"]
    yield Case("control", "plugins are loaded unguarded", partial(unselected, lab, broken, setup))


CAMPAIGN = Campaign("plugins", "broken plugins, selected and not", cases, controls)
