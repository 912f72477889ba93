"""Weight files that were made to do harm: none of their code runs, none of their lies is believed; exit 4."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults import headers, pickles
from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.files_read import SUBJECTS, source
from benchmarks.faults.lab import Ended, Lab

_SHORT = "--cpu --epochs 1 --batch-size 4 --image-size 32"
READERS = (
    "embed {file} {lab}/photos --cpu --out out.npz",
    f"classify {{lab}}/labelled --init {{file}} {_SHORT} --out out",
    "benchmarks.faults.readers:logits {file} out.npz",
    "predict {file} {lab}/photos --cpu --out out.csv",
    f"segment {{lab}}/pairs --init {{file}} {_SHORT} --head fcn32s --out out",
    "evaluate {file} {lab}/labelled --cpu --out out.json",
    "figure architecture {file} --out out",
    "export {file} --to hub --out out",
)
_NETWORK_ITSELF = (0, 2, 3, 5, 6, 7)  # readers that build what the file says, of any kind of file
_HEADED = (0, 2, 3, 7)  # and those that take the head, too

Setup = list[tuple[str, list[Any]]]


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Pickles in every wrapping; then headers."""
    random = Random(f"{seed} hostile")
    for payload in pickles.PAYLOADS:
        for wrapping, wrap in pickles.WRAPPINGS.items():
            content = partial(_wrapped, wrap, pickles.PAYLOADS[payload])
            yield _case("pickle", f"{payload} in {wrapping}", lab, content, random.randrange(len(READERS)))
    backbone = lab.finished("train") / "backbone.safetensors"
    model = lab.finished("classify") / "model.safetensors"
    for number, name in enumerate(headers.NAMES):
        for key, file, readers in (
            ("backbone", backbone, _NETWORK_ITSELF),
            ("backbone", model, _HEADED),
            ("head", model, _HEADED),
        ):
            content = partial(_says, file, key, name)
            reader = readers[number % len(readers)]
            yield _case(
                "name in a header", f"{key} {name[:40]!r} in {file.name}", lab, content, reader, file.name
            )
        yield Case("name in a run", f"ssl {name[:40]!r} in a run", partial(resumed, lab, name))
    for key, values in headers.VALUES.items():
        for number, value in enumerate(values):
            file = backbone if key in ("image_size", "mean", "std", "options") and number % 2 else model
            content = partial(_says, file, key, value)
            reader = _HEADED[number % 3 if file is model else number % 2]
            yield _case(
                "value in a header", f"{key} = {value!r:.40} in {file.name}", lab, content, reader, file.name
            )
    for number, (what, data) in enumerate(headers.lies(backbone)):
        reader = (0, 1, 2, 5)[number % 4]
        yield _case("structure", what, lab, lambda place, data=data: data, reader)


def _case(
    kind: str, name: str, lab: Lab, content: Callable[[Any], bytes], reader: int, file: str = "weights.bin"
) -> Case:
    command = READERS[reader].split()[0].rpartition(":")[2]
    return Case(kind, f"{name}, {command}", partial(trial, lab, content, reader, file))


def _wrapped(wrap: Callable[[Any], bytes], payload: Any, place: Path) -> bytes:
    return wrap(payload)


def _says(file: Path, key: str, value: Any, place: Path) -> bytes:
    if isinstance(value, str):
        value = value.replace("{place}", str(place))
    return headers.says(file, **{key: value})


def trial(lab: Lab, content: Callable[[Any], bytes], reader: int, name: str, setup: Setup = ()) -> str:  # type: ignore[assignment]
    """Have a command read a file, in a folder in which there is code to run."""
    place = _place(lab)
    (place / name).write_bytes(content(place))
    words = READERS[reader].format(lab=lab.folder, file=name).split()
    call = {"call": words[0]} if words[0].startswith("benchmarks.") else {}
    return _judged(lab, place, lab.run(words, **_given(place, setup), **call))


def resumed(lab: Lab, name: str, setup: Setup = ()) -> str:  # type: ignore[assignment]
    """Go on with a run whose settings name something to be imported, in the run and in its checkpoints."""
    place = _place(lab)
    subject = next(each for each in SUBJECTS if each.source == "halfway train")
    shutil.copytree(source(lab, subject), place, dirs_exist_ok=True)
    name = name.replace("{place}", str(place))
    path = place / "run" / "run.toml"
    path.write_text(re.sub(r"(?m)^ssl = .*$", lambda _: f"ssl = {json.dumps(name)}", path.read_text()))
    for folder in (place / "run" / "checkpoints").glob("step-*"):
        _forge(folder, name)
    ended = lab.run(["train", "--resume", "--out", "run"], cache=place / "cache", **_given(place, setup))
    return _judged(lab, place, ended, codes=(2, 4))


def _forge(checkpoint: Path, name: str) -> None:
    """Another name in the settings of a checkpoint, with a manifest that agrees."""
    state = json.loads((checkpoint / "state.json").read_text())
    if "settings" in state:
        state["settings"]["ssl"] = name
    data = json.dumps(state).encode()
    (checkpoint / "state.json").write_bytes(data)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["state.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def _place(lab: Lab) -> Path:
    place = lab.place("hostile")
    for folder in (place, place.parent):
        (folder / "evil.py").write_text(pickles.EVIL)
    return place


def _given(place: Path, setup: Setup) -> dict[str, Any]:
    return {"folder": place, "log": place / "output.txt", "setup": setup, "path": [place], "seconds": 30.0}


def _judged(lab: Lab, place: Path, ended: Ended, codes: tuple[int, ...] = (4,)) -> str:
    marker = place / "marker"
    wrong = "its code was run" if marker.exists() else ended.bug()
    if not wrong and ended.code not in codes:
        wrong = ended.told() if ended.code else "exit 0, and it was believed"
    if not wrong:
        lab.clear(place)
    return wrong


def controls(lab: Lab) -> Iterator[Case]:
    """Readers that unpickle; a resolver that imports what a file names."""
    remove = "benchmarks.faults.controls:remove"
    content = partial(_wrapped, pickles.WRAPPINGS["zip"], pickles.PAYLOADS["os.system"])
    setup: Setup = [(remove, ["pickles are read whole"])]
    yield Case("control", "pickles are read whole", partial(trial, lab, content, 0, "weights.bin", setup))
    backbone = lab.finished("train") / "backbone.safetensors"
    setup = [(remove, ["names in files are believed"])]
    content = partial(_says, backbone, "backbone", "evil.py:Net")
    yield Case(
        "control", "names in files are believed", partial(trial, lab, content, 0, backbone.name, setup)
    )


CAMPAIGN = Campaign("hostile", "weight files made to do harm", cases, controls)
