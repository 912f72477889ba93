"""The files that are read back, who reads them, and how damage may end."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.lab import Lab

_RESUME = "train --resume --out run"
_EMBED = "embed run {lab}/photos --out out/f.npz --cpu"
_REPORT = "report run --out out/report.html"
_LOGITS = "benchmarks.faults.readers:logits run out/logits.npz"


@dataclass(frozen=True)
class Subject:
    """One kind of file.

    Attributes:
        name: for people; also its kind.
        source: `finished` or `halfway`, and the training command whose run it is of.
        file: a pattern below the trial's folder, in which `run` and `cache` lie; the largest is taken.
        readers: commands that read it, in turn.
        codes: with which damage may be refused.
        results: files and folders that must be what they are without damage.
    """

    name: str
    source: str
    file: str
    readers: tuple[str, ...]
    codes: tuple[int, ...]
    results: tuple[str, ...] = ("out",)


def _checkpoint(file: str) -> Subject:
    pattern = f"run/checkpoints/step-000005/{file}"
    return Subject(f"checkpoint/{file}", "halfway train", pattern, (_RESUME,), (4,), ("run",))


def _cache(
    file: str, reader: str, run: str = "finished train", results: tuple[str, ...] = ("out",)
) -> Subject:
    return Subject(f"cache/{file}", run, f"cache/*/{file}", (reader,), (3,), results)


_SEGMENT = (
    "segment {lab}/pairs --backbone tiny --batch-size 4 --epochs 1 --cpu --image-size 32 --head deeplabv3"
)
_SEGMENT += " -o head.width=8 --out again"
_PROBE = "evaluate run {lab}/labelled --probe knn --cpu --out out/n.json"
_CLASSIFY = (
    "classify {lab}/labelled --backbone tiny --batch-size 8 --epochs 1 --cpu --image-size 16 --out again"
)

SUBJECTS = (
    Subject("backbone.safetensors", "finished train", "run/backbone.safetensors", (_EMBED, _LOGITS), (4,)),
    Subject(
        "model.safetensors",
        "finished classify",
        "run/model.safetensors",
        ("predict run {lab}/photos --out out/p.csv --cpu", _LOGITS, _EMBED),
        (4,),
    ),
    *map(_checkpoint, ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")),
    *(_cache(file, _EMBED) for file in ("images.u8", "sizes.i64", "rows.i64", "index.json")),
    _cache("targets.i64", _PROBE),
    _cache("digests.i64", _CLASSIFY, "finished classify", ("again",)),
    _cache("masks.u8", _SEGMENT, "finished segment", ("again",)),
    Subject("run.toml", "halfway train", "run/run.toml", (_RESUME,), (2, 4), ("run",)),
    Subject(
        "run.toml, read", "finished train", "run/run.toml", (_REPORT, "figure curves run --out out/c"), (2, 4)
    ),
    Subject("scores.jsonl", "halfway train", "run/scores.jsonl", (_RESUME,), (3, 4), ("run",)),
    Subject(
        "scores.jsonl, read",
        "finished classify",
        "run/scores.jsonl",
        (_REPORT, "figure curves run --out out/c"),
        (3, 4),
    ),
    Subject("status.json", "halfway train", "run/status.json", (_RESUME, _REPORT), (3, 4), ("run", "out")),
    Subject("result.json", "finished classify", "run/result.json", (_REPORT,), (3,)),
    Subject("val_predictions.csv", "finished classify", "run/val_predictions.csv", (_REPORT,), (3,)),
    Subject("probe_predictions.csv", "finished train", "run/probe_predictions.csv", (_REPORT,), (3,)),
    Subject("probe_untrained.csv", "finished train", "run/probe_untrained.csv", (_REPORT,), (3,)),
    Subject("val_confusions.npz", "finished segment", "run/val_confusions.npz", (_REPORT,), (3,)),
    Subject(
        "features.npz",
        "finished classify",
        "run/features/epoch-0002.npz",
        ("figure tsne run --out out/t",),
        (3,),
    ),
    Subject("masks.json", "finished segment", "run/masks.json", ("figure masks run --out out/m",), (3,)),
)


def source(lab: Lab, subject: Subject) -> Path:
    """A folder with the run, its cache and an empty `out`; to be copied."""
    return lab.once(("source", subject.source), lambda: _made(lab, *subject.source.split()))


def _made(lab: Lab, state: str, command: str) -> Path:
    place = lab.folder / "sources" / f"{state}-{command}"
    place.mkdir(parents=True)
    (place / "out").mkdir()
    setup = []
    if state == "halfway":
        setup = [("benchmarks.faults.traps:strike", ["before the target moves", 5, signal.SIGTERM])]
    ended = lab.run(lab.words(command, place / "run"), cache=place / "cache", setup=setup)
    if ended.code != (143 if setup else 0):
        raise RuntimeError(f"{command} cannot be made: {ended.output}")
    for reader in {
        reader for each in SUBJECTS if each.source == f"{state} {command}" for reader in each.readers
    }:
        _warm(lab, place, reader.format(lab=lab.folder).split())
    return place


def _warm(lab: Lab, place: Path, words: list[str]) -> None:
    """Have the images in the cache that a reader is going to ask for."""
    if words[0] in ("embed", "evaluate", "predict", "classify", "segment"):
        lab.run(words, folder=place, cache=place / "cache")
        shutil.rmtree(place / "again", ignore_errors=True)
        shutil.rmtree(place / "out")
        (place / "out").mkdir()
