"""Of several processes one lists a folder of images and looks at each file; the others are told."""

import json

import numpy as np
import pytest
from PIL import Image

COUNTING = """
import json, os, sys
from pathlib import Path
from ssl_seg.data import files

counts = {"listed": [], "looked_at": 0}
entries = files._entries

def listing(folder):
    counts["listed"].append(os.path.relpath(folder, sys.argv[2]))
    return entries(folder)

real = files.content_digest
def digest(path):
    counts["looked_at"] += 1
    return real(path)

files._entries, files.content_digest = listing, digest
try:
    from ssl_seg.cli import main
    main()
finally:
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    out.with_name(f"{out.name}-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(counts))
"""


@pytest.fixture
def folder(tmp_path):
    for index in range(32):
        path = tmp_path / "photos" / f"{'ab'[index % 2]}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.mark.slow
def test_one_process_lists_and_the_others_are_told(worlds, training, folder, tmp_path):
    program = tmp_path / "counting.py"
    program.write_text(COUNTING)

    def counts(name, ranks):
        words = [folder if word == "demo:32" else word for word in training(tmp_path / name)]
        worlds.go(words, ranks, file=str(program), SSL_SEG_CACHE=str(tmp_path / "cache"))
        return [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in range(ranks)]

    (alone,) = counts("alone", 1)  # it also builds the image cache
    main, other = counts("two", 2)
    assert {"a", "b"} <= set(alone["listed"]) and alone["looked_at"] == 32
    assert main["listed"] == alone["listed"] and main["looked_at"] == 32
    assert not {"a", "b"} & set(other["listed"]) and other["looked_at"] == 0
    one, two = (
        (tmp_path / name / "run.toml").read_text().split("[record.data]")[1] for name in ("alone", "two")
    )
    assert one.split("[")[0] == two.split("[")[0], "the same images"
