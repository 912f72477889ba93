"""The model card of a run: `README.md` with the front matter that Hugging Face reads."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ssl_seg.exporting.base import ExportModel
from ssl_seg.exporting.run_record import RunRecord
from ssl_seg.results.tables import as_markdown
from ssl_seg.utils.text import strip_unprintable

_TASKS = {"classify": "image-classification", "segment": "image-segmentation"}
_METRICS = {"top1": "accuracy", "miou": "mean_iou", "probe_knn": "accuracy"}
_SETTINGS = [
    *("ssl", "backbone", "head", "init", "freeze", "epochs", "batch_size", "image_size", "augment", "loss"),
    *("optimizer", "lr", "lr_end", "backbone_lr", "weight_decay", "weight_decay_end", "warmup", "schedule"),
    *("momentum", "betas", "clip"),
    *("mixup", "label_smoothing", "seed", "precision"),
]


def write_card(
    source: ExportModel, record: RunRecord, *, with_timm: bool, license: str = "unknown", load: str = ""
) -> str:
    """The whole text.

    Names of classes, folders and data may hold anything: in the front matter every value is written as
    JSON on one line, which YAML reads as it is, and in the text what Markdown gives a meaning is escaped.

    Args:
        subject, record: what it is, and how it came to be.
        with_timm: whether timm loads the folder.
        license: an identifier of Hugging Face's list; `unknown` says nothing.
        load: Python that loads the folder.
    """
    task = _TASKS.get(str(source.metadata.get("task")), "image-feature-extraction")
    front: dict[str, Any] = {
        "license": license,
        "library_name": "timm" if with_timm else "ssl-seg",
        "pipeline_tag": task,
        "tags": ["ssl-seg", task, *(["timm"] if with_timm else []), *_method(source, record)],
    }
    if results := _model_index(source, record, task):
        front["model-index"] = results
    parts = [
        f"# {_md(record.name or 'Weights')}",
        _summary(source, record),
        *_numbers(source, record),
        "## Training",
        *_made(record),
        "## Inputs and outputs",
        _inputs(source),
        "## Usage",
        f"`FOLDER` is this folder, as after `hf download USER/NAME --local-dir FOLDER`.\n\n{load}",
        "## License",
        _licence(license),
    ]
    head = "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items())
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _method(source: ExportModel, record: RunRecord) -> list[str]:
    by = record.settings.get("ssl") or source.metadata.get("trained_by") or ""
    return [by] if re.fullmatch(r"[a-z0-9-]{2,30}", by) and by not in _TASKS else []


def _model_index(source: ExportModel, record: RunRecord, task: str) -> list[dict[str, Any]]:
    """The numbers in the form of Hugging Face's leaderboards; detail numbers stay in the text."""
    where = record.settings.get(record.measured_on)
    metrics = [
        {"type": _METRICS.get(name, name), "value": value, "name": f"{name}, epoch {record.epoch}"}
        for name, value in record.numbers.items()
        if "/" not in name
    ]
    if not metrics or not where:
        return []
    data = {"name": _short(where), "type": _slug(_short(where)), "split": _split(record)}
    kind = task if task in _TASKS.values() else "image-classification"
    result = {"task": {"type": kind}, "dataset": data, "metrics": metrics}
    return [{"name": _slug(record.name), "results": [result]}]


def _split(record: RunRecord) -> str:
    return "validation" if record.measured_on == "val" else record.measured_on


def _summary(source: ExportModel, record: RunRecord) -> str:
    name = _md(_short(source.metadata.get("backbone") or record.settings.get("backbone") or "A backbone"))
    task = source.metadata.get("task")
    if task in _TASKS:
        what = "image classification" if task == "classify" else "semantic segmentation"
        head, count = _md(_short(source.metadata.get("head"))), len(source.classes)
        return f"{name} with the head {head} for {what} with {count} classes. Trained with ssl-seg."
    method = record.settings.get("ssl") or source.metadata.get("trained_by")
    by = _md(_short(method)) if method else ""
    origin = (
        f"trained with `{by}`"
        if by in ("classify", "segment")
        else f"pre-trained with {by} (self-supervised)"
    )
    return f"{name}, {origin if by else 'trained'}: a feature extractor without a head. Trained with ssl-seg."


def _numbers(source: ExportModel, record: RunRecord) -> Iterable[str]:
    yield "## Evaluation"
    if not record.numbers:
        yield "Not evaluated."
        return
    where = _short(record.settings.get(record.measured_on))
    count = record.images(record.measured_on).get("images", "?")
    text = f"Evaluated after epoch {record.epoch} on {count} images ({_split(record)}: {_md(where)})"
    if record.is_best_epoch:
        text += "; the epoch was selected on these images, so the scores are optimistic"
    if left_out := source.metadata.get("exclude"):
        text += f". miou excludes {', '.join(map(_md, left_out))}"
    yield f"{text}. One run, seed {record.settings.get('seed', '?')}."
    rows = [(_md(name), f"{value:.4f}") for name, value in record.numbers.items() if "/" not in name]
    yield _table(("metric", "value"), rows)
    if table := _class_rows(source, record):
        yield _table(*table)


def _class_rows(source: ExportModel, record: RunRecord) -> tuple[Sequence[str], list[Sequence[str]]] | None:
    """The numbers of single classes: a row for each, a column for each kind of number."""
    kinds = list(dict.fromkeys(name.split("/", 1)[0] for name in record.numbers if "/" in name))
    if not kinds or not source.classes:
        return None
    rows: list[Sequence[str]] = []
    for name in source.classes:
        found = [record.numbers.get(f"{kind}/{name}") for kind in kinds]
        rows.append(
            [
                _md(name),
                *(
                    "" if value is None else f"{value:.0f}" if value > 999 else f"{value:.4g}"
                    for value in found
                ),
            ]
        )
    return ["class", *map(_md, kinds)], rows


def _made(record: RunRecord) -> Iterable[str]:
    if not record.settings:
        yield "The training run is not available."
        return
    rows = [(name, _md(_shown(name, value))) for name, value in _of(record.settings).items()]
    for group, options in (record.settings.get("o") or {}).items():
        rows += [(_md(f"{group}.{key}"), _md(value)) for key, value in options.items()]
    yield _table(("setting", "value"), rows)
    yield "Data. The fingerprint changes with any image or label."
    kinds = [name for name in ("data", "train", "val", "probe") if record.images(name)]
    images = [(name, record.images(name)) for name in kinds]
    yield _table(
        ("role", "name", "images", "fingerprint"),
        [
            (name, _md(_short(record.settings.get(name))), str(found.get("images", "")), found["fingerprint"])
            for name, found in images
        ],
    )
    versions = record.environment.get("versions") or {}
    values = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"Versions: {_md(values)}. Device: {_md(record.environment.get('device', 'unknown'))}."


def _of(settings: Any) -> dict[str, Any]:
    return {name: settings[name] for name in _SETTINGS if settings.get(name) not in (None, "")}


def _shown(name: str, value: Any) -> str:
    if name in ("ssl", "backbone", "head", "init"):
        return _short(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _inputs(source: ExportModel) -> str:
    mean, std = (", ".join(f"{value:.3f}" for value in values) for values in (source.mean, source.std))
    text = (
        f"RGB images in [0, 1], normalized with mean ({mean}) and standard deviation ({std}). Trained at "
        f"{source.image_size} × {source.image_size} pixels; images are center-cropped to a square and resized (bilinear, antialiased)."
    )
    if source.metadata.get("task") == "segment":
        text = text.split("; images are")[0] + ", on crops; evaluated on whole images."
    if not source.classes:
        return text
    names = "\n".join(f"{index}. {_md(name)}" for index, name in enumerate(source.classes))
    return f"{text}\n\nClasses, in logit order:\n\n{names}"


def _licence(license: str) -> str:
    if license == "unknown":
        return (
            "Not stated. It depends on the training images and the initial weights; "
            "set it with `ssl-seg export --license`. The software ssl-seg is under the MIT license."
        )
    return f"{_md(license)}. The software ssl-seg is under the MIT license."


def _short(spec: Any) -> str:
    """`/home/me/tiles/train` -> `train`: a card tells no paths of the machine."""
    return Path(str(spec or "").rpartition(".py:")[2]).name or "unnamed"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def _md(text: Any) -> str:
    """A text that Markdown shows as it is, on one line, without what cannot be written."""
    return as_markdown(strip_unprintable(text))


def _table(safetensors_metadata: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [safetensors_metadata, ["---"] * len(safetensors_metadata), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
