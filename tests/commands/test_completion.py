"""Tab: names of components come from a small file that every real load renews, and nothing heavy is imported."""

import json
import os
import subprocess
import sys

import pytest

from ssl_seg.commands import completion
from ssl_seg.data.component_names import read_component_names, write_component_names

NAMES = {
    "ssl": ["byol", "simclr"],
    "backbones": ["resnet18", "resnet50"],
    "heads": ["linear", "smp:unet"],
    "datasets": ["demo"],
    "metrics": ["accuracy", "knn"],
}
HEAVY = ("torch", "numpy", "timm", "pluggy", "rich")
ASK = f"""
import sys
sys.argv = ["ssl-seg"]
from ssl_seg.cli import main
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cache" / "components.json"


def tab(line, **environment):
    """What a shell is offered after `line`, and the heavy modules that were imported for it."""
    asked = {
        "_SSL_SEG_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | asked | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr.strip()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ssl-seg train photos --ssl s", ["simclr"]),
        ("ssl-seg train photos --backbone resnet", ["resnet18", "resnet50"]),
        ("ssl-seg segment photos --backbone ", ["resnet18", "resnet50"]),
        ("ssl-seg classify photos --head l", ["linear"]),
        ("ssl-seg segment photos --head smp", ["smp:unet"]),
        ("ssl-seg classify photos --metric accuracy,k", ["accuracy,knn"]),
        ("ssl-seg figure views photos --ssl b", ["byol"]),
        ("ssl-seg list b", ["backbones", "byol"]),
        ("ssl-seg plugins check kn", ["knn"]),
        ("ssl-seg train photos --ssl x", []),
    ],
)
def test_component_names_are_completed_without_torch(line, offered):
    write_component_names(NAMES)
    assert tab(line) == (offered, "[]")


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b'{"ssl": 3}', b'{"ssl": [3, null]}', b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000],
)
def test_without_a_usable_file_nothing_is_offered(file, content):
    if content is not None:
        file.parent.mkdir()
        file.write_bytes(content)
    assert completion.ssl("") == []
    assert completion.components("") == []
    write_component_names(NAMES)
    assert completion.ssl("") == NAMES["ssl"]


def test_names_that_a_shell_would_split_or_a_terminal_act_on_are_not_offered(file):
    write_component_names({"ssl": ["good", "two words", "new\nline", "\x1b[2J"]})
    assert completion.ssl("") == ["good"]


def test_a_real_load_renews_the_names(file, package):
    from ssl_seg.plugins import load_plugins

    write_component_names({"ssl": ["gone"]})
    load_plugins()
    names = read_component_names()
    assert "byol" in names["ssl"] and "gone" not in names["ssl"]
    assert {"resnet50", "linear", "knn", "demo"} <= {name for each in names.values() for name in each}
    before = file.stat()
    load_plugins()
    assert file.stat().st_ino == before.st_ino, "equal names are not written again"
    package(
        "mine",
        "from ssl_seg.hooks import hookimpl\n@hookimpl\ndef metrics():\n    return {'fresh': lambda classes: None}\n",
    )
    load_plugins()
    assert "fresh" in json.loads(file.read_text())["metrics"]


def test_what_a_killed_process_left_is_removed(file):
    file.parent.mkdir()
    (file.parent / ".components.json.tmp-1-ab").write_text("{")
    write_component_names(NAMES)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_harms_nothing(tmp_path, monkeypatch):
    from ssl_seg.plugins import load_plugins

    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("SSL_SEG_CACHE", str(tmp_path / "blocked" / "cache"))
    assert load_plugins().registry.names("ssl")
    assert completion.ssl("") == []
