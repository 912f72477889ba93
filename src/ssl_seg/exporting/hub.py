"""A folder as Hugging Face's hub wants it: `config.json`, `model.safetensors`, and a model card."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.exporting import timm as timm_layout
from ssl_seg.exporting.base import ExportModel
from ssl_seg.exporting.card import write_card
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import atomic_output, write_json
from ssl_seg.exporting.run_record import RunRecord
from ssl_seg.weights.backbone_file import FORMAT
from ssl_seg.weights.model_file import save_model
from ssl_seg.weights.readers import read_tensors
from ssl_seg.weights.state_dict import write_tensors

_COMMANDS = """```sh
{commands}
```

```python
{code}
```"""
_OWN_LOADER = """from ssl_seg import load

model, about = load("FOLDER")"""
_TIMM = """import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or "hf-hub:USER/NAME\""""


@torch.random.fork_rng(devices=[])  # building a network draws random numbers
def to_hub(
    source: ExportModel, folder: Path, *, record: RunRecord | None = None, license: str = "unknown"
) -> Exported:
    """Write the folder; nothing is sent anywhere. With a head the weights are the whole model.

    A backbone of timm's is in the layout of timm, so that `timm.create_model` loads the folder too.

    Args:
        source: any.
        folder: must not exist, or be empty.
        record: how the weights were made, for the card.
        license: an identifier of Hugging Face's list, as `mit` or `cc-by-4.0`.

    Raises:
        UsageError: no such identifier can be.
        WeightsError: what is read back is not what was written.
        OutputInUseError, ResourceError: see `atomic_output`.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,40}", license):
        raise UsageError(
            f"invalid license identifier {license!r}", next="--license mit, cc-by-4.0, other, ..."
        )
    net, notes = _timm_network(source)
    with_timm = net is not None
    with atomic_output(folder) as tmp_path:
        tmp_path.mkdir()
        file = tmp_path / "model.safetensors"
        if source.model is None:
            state = source.backbone.state_dict()
            write_tensors(file, state, FORMAT, {**source.metadata, **source.safetensors_metadata})
        else:
            state = source.model.state_dict()
            metadata = {**source.metadata, **source.safetensors_metadata, "classes": list(source.classes)}
            save_model(file, source.model, metadata)
        written_back, _ = read_tensors(file)
        if written_back.keys() != state.keys() or not all(
            torch.equal(written_back[key], state[key]) for key in state
        ):
            raise WeightsError(
                "export aborted: verification failed", where=f"{file.name} differs after reading back"
            )
        write_json(tmp_path / "config.json", _config(source, net))
        max_difference = timm_layout.compare(source, tmp_path, with_head=False) if with_timm else 0.0
        card = write_card(
            source,
            record or RunRecord(),
            with_timm=with_timm,
            license=license,
            load=_usage(source, with_timm),
        )
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    code = _python(with_timm).replace("FOLDER", str(folder))
    notes = [*notes, f"publish with: hf upload USER/NAME {folder}"]
    if license == "unknown":
        notes.append("the model card states no license: set it with --license")
    return Exported(source.head is not None, max_difference, code, notes)


def _timm_network(source: ExportModel) -> tuple[Any, list[str]]:
    """The network of timm if the backbone alone is all that it has, otherwise None; and notes on it."""
    if source.timm_call is None or source.head is not None:
        return None, []
    net, _, notes = timm_layout.network(source)
    same = net.state_dict().keys() == source.backbone.state_dict().keys()
    return (net, notes) if same else (None, [])


def _config(source: ExportModel, net: Any) -> dict[str, Any]:
    """What the folder holds; timm's keys beside ours where timm loads it."""
    theirs = {} if net is None else timm_layout.config(source, net, with_head=False)
    known = {key: value for key, value in source.metadata.items() if key not in ("classes", "mean", "std")}
    ours = {
        "library_name": "ssl-seg" if net is None else "timm",
        "ssl_seg_version": version("ssl-seg"),
        **known,
        "image_size": source.image_size,
        "mean": list(source.mean),
        "std": list(source.std),
    }
    if source.classes:
        ours["id2label"] = {str(index): name for index, name in enumerate(source.classes)}
        ours["label2id"] = {name: index for index, name in enumerate(source.classes)}
    return ours | theirs


def _python(with_timm: bool) -> str:
    return _TIMM if with_timm else _OWN_LOADER


def _usage(source: ExportModel, with_timm: bool) -> str:
    """Commands and Python that load the folder, for the card."""
    if source.head is None:
        commands = [
            "ssl-seg classify TRAIN --val VAL --init FOLDER",
            "ssl-seg embed FOLDER IMAGES --out f.npz",
        ]
    else:
        out = "labels.csv" if source.metadata.get("task") == "classify" else "masks"
        commands = [f"ssl-seg predict FOLDER IMAGES --out {out}"]
    return _COMMANDS.format(commands="\n".join(commands), code=_python(with_timm))
