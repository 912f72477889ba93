"""What the documents say can be done, can be done."""

import re
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from ssl_seg.cli import app
from ssl_seg.errors import SslSegError, Stopped
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import check_method
from ssl_seg.utils.options import check_options
from ssl_seg.workflows.flag_values import read_options

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    if path.is_file()
)


def blocks(path, language):
    text = path.read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(f"{path.relative_to(ROOT)}-{number}", block) for number, block in enumerate(found)]


def every(language):
    found = [block for path in DOCUMENTS for block in blocks(path, language)]
    assert found, f"there is no block of {language} any more"
    return [pytest.param(block, id=name) for name, block in found]


@pytest.mark.parametrize("block", every("python"))
def test_python_runs(block, tmp_path, monkeypatch, photos):
    assert photos == tmp_path / "photos"  # some blocks want a folder of images
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    scope = {"__name__": "document"}
    small = block.replace('"resnet10t"', '"test_resnet"')  # the same in a tenth of the weights
    exec(compile(small, "document", "exec"), scope)  # noqa: S102  it is ours
    for name, thing in list(scope.items()):
        if name.startswith("test_"):
            thing()
    if "def ssl_methods" in block:
        for method in scope["ssl_methods"]().values():
            check_method(method)
    if "def run_end" in block:

        class Run:
            folder = tmp_path

            def scores(self):
                return [{"loss": 1.0}, {"probe_knn": 0.25}, {"probe_knn": 0.5}]

        scope["run_end"](Run())
        assert (tmp_path / "best.txt").read_text() == "0.5000\n"


@pytest.mark.parametrize("block", every("toml"))
def test_toml_is_toml(block):
    assert tomllib.loads(block)


def commands(block):
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\|", line.split("  #")[0]):
            if words := part.split():
                yield words


@pytest.mark.parametrize("block", every("sh"))
def test_shell_commands_exist(block):
    for words in commands(block):
        if words[0] == "ssl-seg":
            check_command(words[1:])
        elif words[0] in ("torchrun", "accelerate", "srun"):
            start = words.index("ssl-seg" if words[0] == "srun" else "ssl_seg")
            check_command(words[start + 1 :])
        elif words[0] == "sbatch":
            assert (ROOT / words[1]).exists(), f"there is no {words[1]}"
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).stat().st_mode & 0o111, f"{words[0]} cannot be run"
        elif words[0] == "python" and (ROOT / words[1]).exists():
            assert words[1].startswith(("scripts/", "examples/"))
        elif words[:2] in (["python", "-m"], ["python3", "-m"]):
            here = words[2] == "pip" or find_spec(words[2]) or words[2] in brought(block)
            assert here, f"there is no module {words[2]}"
        elif words[0] == "uv":
            for word in words:
                assert not word.endswith(".txt") or (ROOT / word).exists(), f"there is no {word}"
        else:
            assert words[0] in (".", "git", "cd", "hf"), f"unknown command {words[0]}"


def brought(block):
    """The packages of the dependency groups that a block installs."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    named = [group for group in re.findall(r"--group (\w+)", block) if group != "dev"]
    return {re.split(r"\W", requirement)[0] for group in named for requirement in groups[group]}


@cache
def program():
    """The command line as it is with the plugins of this repository."""
    sys.path.insert(0, str(ROOT / "plugins" / "ssl-seg-sam" / "src"))
    try:
        from ssl_seg_sam.command import app as sam
    finally:
        del sys.path[0]
    command = get_command(app)
    command.commands["sam"] = get_command(sam)
    return command


def check_command(words):
    command = program()
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert (
        not hasattr(command, "commands") or command.invoke_without_command or words[0] == "..." or words == []
    )
    parameters = list(command.params)
    if command.name == "lr":  # takes the flags of the command that follows, too
        parameters += program().commands[words[0]].params
    known = {name for parameter in parameters for name in parameter.opts}
    for word in words:
        if word.startswith("-") and word != "-" and not word[1:].isdigit():
            assert word in known, f"{command.name} has no flag {word}"
    registry, options = load_plugins().registry, []
    for flag, value in pairwise(words):
        if flag == "-o":
            options.append(value)
        if flag == "--backbone" and ".py:" not in value:
            assert registry.factory("backbones", value)
    ssl = words[words.index("--ssl") + 1] if "--ssl" in words else "byol"
    if ssl in registry.names("ssl"):
        check_options(registry.factory("ssl", ssl), ssl, read_options(options).get("ssl", {}))


def test_every_command_of_the_program_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for name in get_command(app).commands:
        assert f"ssl-seg {name}" in text, f"README.md does not mention ssl-seg {name}"


def test_the_table_of_exit_codes_is_that_of_the_errors():
    text = (ROOT / "docs" / "faults.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| `?([\w ]*)`? ?\|", text, re.MULTILINE)
    raised = {str(kind.code): kind.__name__ for kind in SslSegError.__subclasses__() if kind is not Stopped}
    assert dict(rows) == {"0": "", "1": "any other ", **raised}
    assert "| 128 + n |" in text


def test_the_exit_codes_stand_in_one_place():
    tables = [
        path.name
        for path in DOCUMENTS
        if re.search(r"^\| 9 \|.*^\| 128 \+ n", path.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert tables == ["faults.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_site_has_every_document():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    there = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    assert sorted(listed) == sorted(there)


def test_a_decision_fits_on_a_screen():
    for path in ROOT.glob("docs/decisions/*.md"):
        text = path.read_text()
        assert len(text.splitlines()) <= 35, path.name
        for part in ("**Context.**", "**Choice.**", "**Price.**"):
            assert part in text, f"{path.name} has no {part}"
