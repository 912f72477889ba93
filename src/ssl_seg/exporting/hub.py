"""A folder as Hugging Face's hub wants it: `config.json`, `model.safetensors`, and a model card."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.exporting import timm as timm_layout
from ssl_seg.exporting.base import Subject
from ssl_seg.exporting.card import write_card
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import placed, write_json
from ssl_seg.exporting.run_record import Record
from ssl_seg.weights.backbone_file import FORMAT
from ssl_seg.weights.model_file import save_model
from ssl_seg.weights.readers import read_file
from ssl_seg.weights.state_dict import write_tensors

_COMMANDS = """```sh
{commands}
```

```python
{code}
```"""
_OURS = """from ssl_seg import load

model, about = load("FOLDER")"""
_TIMM = """import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or "hf-hub:USER/NAME\""""


@torch.random.fork_rng(devices=[])  # building a network draws random numbers
def to_hub(
    subject: Subject, folder: Path, *, record: Record | None = None, license: str = "unknown"
) -> Exported:
    """Write the folder; nothing is sent anywhere. With a head the weights are the whole model.

    A backbone of timm's is in the layout of timm, so that `timm.create_model` loads the folder too.

    Args:
        subject: any.
        folder: must not exist, or be empty.
        record: how the weights were made, for the card.
        license: an identifier of Hugging Face's list, as `mit` or `cc-by-4.0`.

    Raises:
        UsageError: no such identifier can be.
        WeightsError: what is read back is not what was written.
        OccupiedError, ResourceError: see `placed`.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,40}", license):
        raise UsageError(
            f"invalid license identifier {license!r}", next="--license mit, cc-by-4.0, other, ..."
        )
    net, notes = _timm_network(subject)
    with_timm = net is not None
    with placed(folder) as aside:
        aside.mkdir()
        file = aside / "model.safetensors"
        if subject.model is None:
            state = subject.backbone.state_dict()
            write_tensors(file, state, FORMAT, {**subject.about, **subject.header})
        else:
            state = subject.model.state_dict()
            about = {**subject.about, **subject.header, "classes": list(subject.classes)}
            save_model(file, subject.model, about)
        again, _ = read_file(file)
        if again.keys() != state.keys() or not all(torch.equal(again[key], state[key]) for key in state):
            raise WeightsError(
                "export aborted: verification failed", where=f"{file.name} differs after reading back"
            )
        write_json(aside / "config.json", _config(subject, net))
        found = timm_layout.compare(subject, aside, whole=False) if with_timm else 0.0
        card = write_card(
            subject, record or Record(), with_timm=with_timm, license=license, load=_how(subject, with_timm)
        )
        (aside / "README.md").write_text(card, encoding="utf-8")
    code = _python(with_timm).replace("FOLDER", str(folder))
    notes = [*notes, f"publish with: hf upload USER/NAME {folder}"]
    if license == "unknown":
        notes.append("the model card states no license: set it with --license")
    return Exported(subject.head is not None, found, code, notes)


def _timm_network(subject: Subject) -> tuple[Any, list[str]]:
    """The network of timm if the backbone alone is all that it has, otherwise None; and notes on it."""
    if subject.timm_call is None or subject.head is not None:
        return None, []
    net, _, notes = timm_layout.network(subject)
    same = net.state_dict().keys() == subject.backbone.state_dict().keys()
    return (net, notes) if same else (None, [])


def _config(subject: Subject, net: Any) -> dict[str, Any]:
    """What the folder holds; timm's keys beside ours where timm loads it."""
    theirs = {} if net is None else timm_layout.config(subject, net, whole=False)
    known = {key: value for key, value in subject.about.items() if key not in ("classes", "mean", "std")}
    ours = {
        "library_name": "ssl-seg" if net is None else "timm",
        "ssl_seg_version": version("ssl-seg"),
        **known,
        "image_size": subject.size,
        "mean": list(subject.mean),
        "std": list(subject.std),
    }
    if subject.classes:
        ours["id2label"] = {str(index): name for index, name in enumerate(subject.classes)}
        ours["label2id"] = {name: index for index, name in enumerate(subject.classes)}
    return ours | theirs


def _python(with_timm: bool) -> str:
    return _TIMM if with_timm else _OURS


def _how(subject: Subject, with_timm: bool) -> str:
    """Commands and Python that load the folder, for the card."""
    if subject.head is None:
        commands = [
            "ssl-seg classify TRAIN --val VAL --init FOLDER",
            "ssl-seg embed FOLDER IMAGES --out f.npz",
        ]
    else:
        out = "labels.csv" if subject.about.get("task") == "classify" else "masks"
        commands = [f"ssl-seg predict FOLDER IMAGES --out {out}"]
    return _COMMANDS.format(commands="\n".join(commands), code=_python(with_timm))
