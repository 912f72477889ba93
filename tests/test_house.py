"""Rules of the house that a linter does not know."""

import ast
import re
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg import hooks
from ssl_seg.plugins import BUILT_IN, PluginManager, built_in_modules

SOURCE = Path(ssl_seg.__file__).parent
ROOT = SOURCE.parent.parent
FILES = sorted(SOURCE.rglob("*.py"))


def place(path):
    return path.relative_to(SOURCE).as_posix()


# progress is shown whoever asks for a run, and a process that waits for one that is gone can only be ended
SPEAKING = ("cli.py", "utils/progress.py", "workflows/process_guard.py")


def faults_of(path, text):
    """What breaks a rule in one file, line by line."""
    speaks = place(path).startswith("commands/") or place(path) in SPEAKING
    tree = ast.parse(text)
    lines = len(text.splitlines())
    if lines > 250:
        yield f"{lines} lines, more than 250"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # a command is its parameters, one a line: there the body counts
            first = node.body[0].lineno - 1 if place(path).startswith("commands/") else node.lineno
            length = node.end_lineno - first + 1
            if length > 60:
                yield f"{node.name}() has {length} lines, more than 60"
        for name in imported(node):
            top = name.split(".")[0]
            if top in ("pickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "joblib"):
                yield f"imports {name}"
            if top == "accelerate" and place(path) not in ("engine/process_group.py", "engine/loggers.py"):
                yield f"imports {name}; only engine/process_group.py and engine/loggers.py may"
            if name == "ssl_seg":
                yield "imports from ssl_seg itself instead of the file that defines the name"
        if isinstance(node, ast.Call):
            yield from faults_of_call(node, speaks)


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["ssl_seg"]
        modules = {f"{node.module}.{alias.name}" for alias in node.names}
        whole = all(module_exists(name) for name in modules)
        return sorted(modules) if node.module == "ssl_seg" and whole else [node.module]
    return []


def module_exists(name):
    path = SOURCE.parent / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def faults_of_call(node, speaks):
    called = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if called in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"):
        yield f"calls {called}"
    if given.get("shell", "False") != "False":
        yield "runs a shell"
    if given.get("strict") == "False" and called.endswith("load_state_dict"):
        yield "loads weights with strict=False"
    if called in ("print", "typer.echo") and not speaks:
        yield f"calls {called}; only commands speak"
    if called in ("sys.exit", "exit", "quit", "os._exit") and not speaks:
        yield f"calls {called}; only commands end the process"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_keeps_the_rules(path):
    assert list(faults_of(path, path.read_text())) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import torch\ntorch.load('x')", "torch.load without"),
        ("import torch\ntorch.load('x', weights_only=False)", "torch.load without"),
        ("import pickle", "imports pickle"),
        ("from yaml import load", "imports yaml"),
        ("from accelerate import Accelerator", "imports accelerate"),
        ("from ssl_seg import BYOL", "imports from ssl_seg itself"),
        ("from . import base", "imports from ssl_seg itself"),
        ("import ssl_seg", "imports from ssl_seg itself"),
        ("eval('1')", "calls eval"),
        ("run('ls', shell=True)", "runs a shell"),
        ("module.load_state_dict(state, strict=False)", "strict=False"),
        ("print(1)", "calls print"),
        ("import sys\nsys.exit(1)", "calls sys.exit"),
        ("x = 1\n" * 251, "251 lines"),
        ("def f():\n" + "    x = 1\n" * 60, "61 lines"),
    ],
)
def test_the_rules_find_what_breaks_them(code, fault):
    assert any(fault in found for found in faults_of(SOURCE / "engine" / "x.py", code))


def test_what_is_allowed_is_no_fault():
    code = "from ssl_seg import hooks\nimport torch\ntorch.load('x', weights_only=True)\nmodel.eval()\n"
    assert list(faults_of(SOURCE / "engine" / "x.py", code)) == []
    assert list(faults_of(SOURCE / "commands" / "x.py", "print(1)\nimport sys\nsys.exit(1)")) == []
    assert list(faults_of(SOURCE / "engine" / "process_group.py", "import accelerate")) == []


def test_every_module_in_a_component_folder_brings_a_component():
    modules = list(built_in_modules())
    assert len(modules) >= 9
    for module in modules:
        plugins = PluginManager()
        plugins.register(module, module.__name__, BUILT_IN)
        names = [
            name
            for kind in ("ssl", "backbones", "heads", "datasets", "metrics")
            for name in plugins.registry.names(kind)
        ]
        assert names, f"{module.__name__} implements no hook"


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "plugins.md").read_text()
    specs = {name: spec for name, spec in vars(hooks).items() if hasattr(spec, "ssl_seg_spec")}
    assert len(specs) == 9
    for name, spec in specs.items():
        arguments = ", ".join(spec.__code__.co_varnames[: spec.__code__.co_argcount])
        section = re.search(rf"^### `{name}\({arguments}\)`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"docs/plugins.md has no section ### `{name}({arguments})`"
        first = spec.__doc__.strip().splitlines()[0]
        assert first in section[1], f"the section of {name} does not say: {first}"
    told = re.findall(r"^### `(\w+)\(", text, re.MULTILINE)
    assert sorted(told) == sorted(specs)


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    for requirement in project["dependencies"]:
        name = re.match(r"[\w-]+", requirement)[0]
        assert f"**{name}**" in text, f"docs/decisions/dependencies.md does not say why {name} is there"


def test_the_structure_keeps_its_numbers():
    loader = SourceFileLoader("structure", str(ROOT / "scripts" / "structure"))
    module = module_from_spec(spec_from_loader("structure", loader))
    loader.exec_module(module)
    assert module.named() == {}, "words of the field's vocabulary have replaced these"
    assert {name: depth for name, depth in module.class_depths().items() if depth > 1} == {}
