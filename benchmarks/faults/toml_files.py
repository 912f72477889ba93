"""TOML files that are wrong: of flags, of studies; and palettes and tables of labels, which are read alike."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from benchmarks.faults.material import STUDY
from benchmarks.faults.values import COLOURS, FIELDS, LINES, VALUES

if TYPE_CHECKING:
    from benchmarks.faults.lab import Lab

KINDS = ("train", "study", "segment", "palette", "classify", "csv")
NAMES = dict.fromkeys(KINDS, "wrong.toml") | {"palette": "palette.json", "csv": "labels.csv"}
_SHORT = 'backbone = "tiny"\nepochs = 1\nbatch_size = 8\nimage_size = 32\ncpu = true\n'
RIGHT = {
    "train": f'data = "{{lab}}/photos"\n{_SHORT}lr = 0.1\noptimizer = "adamw"\nwarmup = 0.1\n[o.ssl]\nhidden = 16\n',
    "classify": f'train = "{{lab}}/labelled"\nval = "{{lab}}/labelled-val"\n{_SHORT}mixup = 0.2\nfreeze = false\n',
    "segment": f'train = "{{lab}}/pairs"\nval = "{{lab}}/pairs-val"\n{_SHORT}exclude = "fire"\no.head.width = 8\n',
    "study": STUDY,
    "palette": '{"ground": [0, 0, 0], "fire": [255, 0, 0], "grass": [0, 255, 0]}',
    "csv": "filename,label\na/000.png,a\nb/001.png,b\nc/002.png,c\na/003.png,a\n",
}


@dataclass(frozen=True)
class Wrong:
    """How a file differs from one that is right: what is done, drawn from a seed of its own."""

    kind: str
    how: str
    seed: int

    def content(self, lab: "Lab") -> bytes:
        """The file."""
        text = RIGHT[self.kind].replace("{lab}", str(lab.folder))
        return _HOW[self.how](Random(self.seed), text)

    def __str__(self) -> str:
        return f"{self.kind}: {self.how}, {self.seed}"


def draw(random: Random, kind: str) -> Wrong:
    """One way to be wrong."""
    return Wrong(kind, random.choice(list(_HOW)), random.randrange(10**6))


def words(lab: "Lab", kind: str, path: Path) -> list[str]:
    """A command that reads the file."""
    if kind == "study":
        return ["study", str(path), "--dry-run"]
    if kind == "palette":
        run = str(lab.finished("segment"))
        return ["evaluate", run, f"{lab.folder}/pairs-val", "-o", f"data.palette={path}", "--cpu"]
    if kind == "csv":
        short = ["--backbone", "tiny", "--epochs", "1", "--batch-size", "2", "--image-size", "16", "--cpu"]
        link = path.parent / "a"
        for name in "abc":
            link.with_name(name).symlink_to(lab.folder / "labelled" / name)
        return ["classify", f"csv:{path}", *short, "--out", "out"]
    return [kind, "--config", str(path), "--out", "out"]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _flip(random: Random, text: str) -> bytes:
    data = bytearray(_bytes(text))
    for _ in range(random.choice((1, 1, 3))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _cut(random: Random, text: str) -> bytes:
    return _bytes(text)[: random.randrange(len(text))]


def _value(random: Random, text: str) -> bytes:
    """Another value behind one of its keys, or in one of its fields."""
    if text.startswith("filename"):
        rows = [line.split(",") for line in text.splitlines()]
        random.choice(rows)[random.randrange(2)] = random.choice(FIELDS)
        return _bytes("\n".join(map(",".join, rows)))
    if text.startswith("{"):
        return _palette(random, text)
    lines = text.splitlines()
    at = random.choice([at for at, line in enumerate(lines) if "=" in line])
    lines[at] = f"{lines[at].partition('=')[0]}= {random.choice(VALUES)}"
    return _bytes("\n".join(lines))


def _palette(random: Random, text: str) -> bytes:
    palette = json.loads(text)
    palette[random.choice([*palette, "classes", "ignore", "", "x" * 300, "\x1b[31m"])] = random.choice(
        COLOURS
    )
    return _bytes(json.dumps(palette))


def _line(random: Random, text: str) -> bytes:
    """One more line somewhere."""
    lines = text.splitlines()
    lines.insert(random.randrange(len(lines) + 1), random.choice(LINES))
    return _bytes("\n".join(lines))


def _move(random: Random, text: str) -> bytes:
    """Lines that are lost, twice there, or elsewhere."""
    lines = text.splitlines()
    taken = lines.pop(random.randrange(len(lines)))
    for _ in range(random.randrange(3)):
        lines.insert(random.randrange(len(lines) + 1), taken)
    return _bytes("\n".join(lines))


def _form(random: Random, text: str) -> bytes:
    """Another coding, or no text at all."""
    forms = [
        b"",
        b"\n",
        b"\x00" * 64,
        text.encode("utf-16"),
        text.encode("utf-8-sig"),
        text.encode().replace(b"\n", b"\r"),
    ]
    forms += [
        text.encode() * 2,
        text.encode() + b"\xff\xfe",
        bytes(random.randrange(256) for _ in range(400)),
        b"PK\x03\x04",
    ]
    return random.choice(forms)


_HOW = {"flip": _flip, "cut": _cut, "value": _value, "line": _line, "move": _move, "form": _form}
