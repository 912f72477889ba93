"""A name that is read from a file is a registry name: code that a file names is never imported."""

import ast
import json
import shlex
import sys
from pathlib import Path

import pytest
import torch
import typer

import ssl_seg
from benchmarks.faults.headers import says
from ssl_seg import cli as command_line
from ssl_seg.base import Head, Model
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.errors import SslSegError, WeightsError
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import TinyBackbone
from ssl_seg.utils.code_names import TypedName, same_code
from ssl_seg.weights.backbone_file import save_backbone
from ssl_seg.weights.model_file import save_model

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
CODE = """
import os
from pathlib import Path
from torch import nn
from ssl_seg.base import Head
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.datasets.demo_masks import DemoMaskDataset
from ssl_seg.methods.simsiam import SimSiam
from ssl_seg.metrics.accuracy import Accuracy
from ssl_seg.testing import TinyBackbone as Net
Path(os.environ["MARKER"]).touch()

class Mine(SimSiam): pass

class Flat(Head):
    pools = True
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.layer = nn.Linear(channels[-1], classes)
    def forward(self, features, size):
        return self.layer(features[-1].mean(dim=(2, 3)))

class Dense(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.layer = nn.Conv2d(channels[-1], classes, 1)
    def forward(self, features, size):
        return nn.functional.interpolate(self.layer(features[-1]), size)

def pictures(root, split):
    return DemoDataset(split, 40)

def masks(root, split):
    return DemoMaskDataset(split, 8)

class Rate(Accuracy):
    def compute(self):
        return {"rate": super().compute()["top1"]}
"""
SMALL = ("--cpu", "--precision", "fp32", "--image-size", 32, "--batch-size", 4, "--epochs", 1)
NPZ = ("--out", "f.npz", "--cpu")
PARTS = {"ssl": "Mine", "backbones": "Net", "heads": "Flat", "datasets": "pictures", "metrics": "Rate"}


class Linear(Head):
    def __init__(self, channels, classes, dense):
        super().__init__()
        self.dense = dense
        make = (torch.nn.Conv2d, torch.nn.Linear)[not dense]
        self.layer = make(channels[-1], classes, *([1] if dense else []))


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A file of code that leaves a marker wherever it is imported: its name, and whether it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))

    def imported():
        for name in [name for name in sys.modules if name.startswith("ssl_seg_file_")]:
            del sys.modules[name]
        found = marker.exists()
        marker.unlink(missing_ok=True)
        return found

    assert not imported()
    yield imported
    imported()


@pytest.fixture
def files(code, tmp_path):
    """Runs and weight files that name code, as 0.1.0 and strangers have written them."""
    sizes = {"image_size": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    metadata = {"backbone": "net.py:Net", "options": {}, **sizes}
    classes = {"head_options": {}, "classes": list(DemoDataset("val", 10).classes), "exclude": []}
    masks = {"colours": [[n, n, n] for n in range(8)], "image_suffix": "", "mask_suffix": "_mask"}
    for task, head in (("classify", "Flat"), ("segment", "Dense")):
        folder = tmp_path / task
        folder.mkdir()
        own = {**metadata, **classes, **masks, "task": task, "head": f"net.py:{head}"}
        model = Model(TinyBackbone(), Linear((8, 16), 8, dense=task == "segment"))
        save_model(folder / "model.safetensors", model, own)
        save_model(folder / "best.safetensors", model, own)
        (folder / "run.toml").write_text(
            f'backbone = "net.py:Net"\nhead = "net.py:{head}"\ntrain = "demo:40"\nepochs = 1\n'
            f'[record]\ncommand = "{task}"\n'
        )
    (tmp_path / "hub").mkdir()
    for prompt in ("backbone.safetensors", "classify/backbone.safetensors", "hub/model.safetensors"):
        save_backbone(tmp_path / prompt, TinyBackbone(), metadata)
    own = {**metadata, **classes, "task": "classify", "backbone": "resnet10t", "head": "net.py:Flat"}
    save_model(tmp_path / "head" / "model.safetensors", Model(TinyBackbone(), Linear((8,), 8, False)), own)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.toml").write_text(
        'data = "demo:40"\nbackbone = "net.py:Net"\nimage_size = 16\n[record]\ncommand = "train"\n'
    )
    return tmp_path


READERS = {
    "evaluate of a model": ("evaluate", "classify", "demo:40", "--cpu"),
    "evaluate of masks": ("evaluate", "segment", "demo_masks:4", "--cpu"),
    "evaluate of the best": ("evaluate", "classify", "demo:40", "--cpu", "--which", "best"),
    "evaluate of a backbone": ("evaluate", "backbone.safetensors", "demo:40", "--cpu"),
    "evaluate of a hub folder": ("evaluate", "hub", "demo:40", "--cpu"),
    "predict": ("predict", "classify", "demo:4", "--out", "l.csv", "--cpu"),
    "predict masks": ("predict", "segment", "demo:4", "--out", "masks", "--cpu"),
    "pseudo-label": ("pseudo-label", "classify", "demo:4", "--out", "l", "--cpu"),
    "pseudo-label of masks": ("pseudo-label", "segment", "demo:4", "--out", "l", "--cpu"),
    "predict with a head": ("predict", "head", "demo:4", "--out", "l.csv", "--cpu"),
    "embed of a model": ("embed", "classify", "demo:4", *NPZ),
    "embed of a backbone": ("embed", "backbone.safetensors", "demo:4", *NPZ),
    "export of a model": ("export", "classify", "--to", "hub", "--out", "e"),
    "export of a backbone": ("export", "backbone.safetensors", "--to", "timm", "--out", "e"),
    "figure architecture": ("figure", "architecture", "classify"),
    "figure architecture of settings": ("figure", "architecture", "begun"),
    "figure architecture of a backbone": ("figure", "architecture", "backbone.safetensors"),
    "classify --init": (
        "classify",
        "demo:40",
        "--init",
        "backbone.safetensors",
        *SMALL,
        "--out",
        "r",
        "--any-size",
    ),
    "segment --init": ("segment", "demo_masks:8", "--init", "classify", *SMALL, "--out", "r"),
    "train --resume": ("train", "--resume", "--out", "begun"),
    "train --out --resume": ("train", "--out", "begun", "--resume"),
    "classify --resume": ("classify", "--resume", "--out", "classify"),
    "segment --resume": ("segment", "--resume", "--out", "segment"),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_command_imports_what_a_file_names(files, code, cli, reader):
    exit_code, _, err = cli(*READERS[reader])
    assert not code(), err
    assert exit_code == 4, err
    part = "--head net.py:Flat" if reader == "predict with a head" else "--backbone net.py:Net"
    assert "error[4]" in err and part in err.splitlines()[-1], err
    assert "Traceback" not in err


LIES = {
    "a name": {"backbone": "nowhere", "options": {}},
    "an option": {"backbone": "resnet10t", "options": {"nope": 1}},
    "a value": {"backbone": "resnet10t", "options": {"stem": "x"}},
    "what the network cannot be": {"backbone": "resnet10t", "options": {"output_stride": 7}},
}
BUILDERS = [
    name for name, words in READERS.items() if "--resume" not in words and name != "predict with a head"
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("reader", [name for name in BUILDERS if "settings" not in name])
def test_what_means_nothing_in_a_header_is_a_fault_of_the_file(files, cli, reader, lie):
    for file in files.rglob("*.safetensors"):
        file.write_bytes(says(file, **LIES[lie]))
    exit_code, _, err = cli(*READERS[reader])
    assert exit_code == 4, err
    assert ".safetensors" in err.partition("where: ")[2], err


@pytest.mark.parametrize("lie", [{"head": "nowhere"}, {"head": "linear", "head_options": {"nope": 1}}])
def test_nor_a_head_that_means_nothing(files, cli, lie):
    file = files / "head" / "model.safetensors"
    file.write_bytes(says(file, **lie))
    exit_code, _, err = cli(*READERS["predict with a head"])
    assert exit_code == 4 and str(Path("head") / "model.safetensors") in err, err


def test_what_is_typed_beside_a_file_is_a_fault_of_the_command_line(files, cli):
    file = files / "backbone.safetensors"
    file.write_bytes(says(file, backbone="resnet10t"))
    for option in ("nope=1", "stem=x", "output_stride=7"):
        exit_code, _, err = cli(*READERS["classify --init"], "-o", f"backbone.{option}")
        assert exit_code == 2 and "error[2]" in err, err


# what takes a run and builds nothing that it names
WITHOUT = {
    "figure tsne": ("figure", "tsne", "classify"),
    "figure curves": ("figure", "curves", "classify"),
    "figure confusion": ("figure", "confusion", "classify"),
    "figure masks": ("figure", "masks", "segment"),
    "report": ("report", "classify"),
    "plugins check": ("plugins", "check", "classify/model.safetensors"),
}


@pytest.mark.parametrize("reader", WITHOUT)
def test_nor_do_those_that_need_no_network(files, code, cli, reader):
    exit_code, _, err = cli(*WITHOUT[reader])
    assert not code(), err
    assert exit_code != 1, err


def test_every_command_that_takes_a_run_is_among_them():
    tried = {" ".join(words[: 2 if words[0] in ("figure", "plugins") else 1]) for words in READERS.values()}
    tried |= {" ".join(words[: 2 if words[0] in ("figure", "plugins") else 1]) for words in WITHOUT.values()}
    takes = set()
    for name, command in leaves(typer.main.get_command(command_line.app)):
        words = {word for p in command.params for word in (p.name, *(p.metavar or "").split("|"))}
        if {"run", "runs", "init", "resume", "RUN", "RUN...", "RUN|FILE", "folders"} & words:
            takes.add(name)
    assert takes <= tried
    assert len(takes) >= 11


def leaves(command, name=""):
    for key, child in getattr(command, "commands", {}).items():
        yield from leaves(child, f"{name} {key}".strip())
    if not getattr(command, "commands", {}):
        yield name, command


@pytest.mark.parametrize("prompt", ["classify", "segment", "head", "hub", "backbone.safetensors"])
def test_nor_does_load(files, code, prompt):
    with pytest.raises(WeightsError, match="is code named by a file") as caught:
        ssl_seg.load(files / prompt)
    assert not code()
    assert str(files / prompt) in caught.value.where


TYPED = {
    "evaluate": ("evaluate", "classify", "demo:40", "--cpu", "--head", "net.py:Flat"),
    "predict": ("predict", "classify", "demo:4", "--out", "l.csv", "--cpu", "--head", "net.py:Flat"),
    "predict masks": ("predict", "segment", "demo:4", "--out", "m", "--cpu", "--head", "./net.py:Dense"),
    "embed": ("embed", "classify", "demo:4", *NPZ, "--head", "net.py:Flat"),
    "embed of a backbone": ("embed", "backbone.safetensors", "demo:4", *NPZ),
    "export": ("export", "classify", "--to", "hub", "--out", "e", "--head", "net.py:Flat"),
    "figure": ("figure", "architecture", "classify", "--head", "./net.py:Flat", "--image-size", 32),
    "figure of settings": ("figure", "architecture", "begun", "--image-size", 32),
    "classify": ("classify", "demo:40", "--init", "backbone.safetensors", *SMALL, "--out", "r", "--any-size"),
}


@pytest.mark.parametrize("reader", TYPED)
def test_what_a_person_types_is_imported(files, code, cli, reader):
    exit_code, _, err = cli(*TYPED[reader], "--backbone", "./net.py:Net")
    assert exit_code == 0, err
    assert code()


def test_load_takes_what_its_caller_names(files, code):
    model, metadata = ssl_seg.load(files / "classify", backbone="net.py:Net", head="./net.py:Flat")
    assert type(model.head).__name__ == "Flat" and metadata["head"] == "net.py:Flat"
    backbone, _ = ssl_seg.load(files / "hub", backbone=f"{files}/net.py:Net")
    assert type(backbone).__name__ == "TinyBackbone"


def test_another_network_than_that_of_the_file_is_refused(files, code, cli):
    exit_code, _, err = cli("predict", "head", "demo:4", "--out", "l.csv", "--cpu", "--backbone", "resnet18")
    assert exit_code == 4 and "its backbone is 'resnet10t', not 'resnet18'" in err


RUNS = {
    "train": ("train", "net.py:pictures=x", "--ssl", "net.py:Mine", "--backbone", "net.py:Net"),
    "classify": (
        *("classify", "net.py:pictures=x", "--val", "net.py:pictures=y", "--backbone", "net.py:Net"),
        *("--head", "net.py:Flat", "--metric", "net.py:Rate"),
    ),
    "segment": ("segment", "net.py:masks=x", "--backbone", "net.py:Net", "--head", "net.py:Dense"),
}


@pytest.mark.parametrize("command", RUNS)
def test_a_run_with_code_is_resumed_when_it_is_typed_again(files, code, cli, command):
    run = files / "run"
    exit_code, _, err = cli(*RUNS[command], *SMALL, "--out", run)
    assert exit_code == 0, err
    assert code()
    exit_code, _, err = cli(command, "--resume", "--out", run)
    assert exit_code == 4 and not code(), err
    assert "is code that the run was started with" in err
    line = err.splitlines()[-1]
    assert line.startswith("next: ssl-seg ") and line.endswith("  # if you trust this code")
    (run / "run.toml").rename(files / "kept.toml")  # then the newest checkpoint has the settings
    exit_code, _, err = cli(command, "--resume", "--out", run)
    assert exit_code == 4 and not code() and line in err, err
    (files / "kept.toml").rename(run / "run.toml")
    printed = shlex.split(line.removeprefix("next: ssl-seg "), comments=True)
    assert set(map(str, RUNS[command])) < set(printed)
    exit_code, _, err = cli(*printed)
    assert exit_code == 0 and code(), err

    exit_code, _, err = cli(*RUNS[command], "--resume", "--out", run)
    assert exit_code == 0, err
    moved = [str(word).replace("net.py", f"{files}/net.py") for word in RUNS[command]]
    exit_code, _, err = cli(*moved, "--resume", "--out", run)
    assert exit_code == 0, err
    exit_code, _, err = cli(
        command, "--resume", "--out", run, *RUNS[command][1:2], *RUNS[command][2:], "--seed", 1
    )
    assert exit_code == 2 and "seed: was 0, now 1" in err


def test_the_command_that_a_stopped_run_prints_names_its_code_again(files):
    from ssl_seg.engine.run_dir import Run

    with Run(files / "begun", resume=True) as run:
        assert run.resume_command == f"ssl-seg train --backbone net.py:Net --resume --out {files}/begun"
    with Run(files / "new") as run:
        assert run.resume_command == f"ssl-seg train --resume --out {files}/new"


def test_a_persons_own_toml_may_name_code_even_when_a_run_is_resumed(files, code, cli):
    (files / "mine.toml").write_text('backbone = "net.py:Net"\n')
    words = ("train", "demo:40", "--config", "mine.toml", *SMALL, "--out", "run")
    exit_code, _, err = cli(*words)
    assert exit_code == 0, err
    code()
    for order in (
        ("--config", "mine.toml", "--resume", "--out", "run"),
        ("--resume", "--out", "run", "--config", "mine.toml"),
    ):
        exit_code, _, err = cli("train", *order)
        assert exit_code == 0 and code(), err


def test_a_study_may_name_code_and_hands_it_on_to_what_starts_from_it(files, code, monkeypatch):
    from ssl_seg.commands.stage_flags import flag_validator
    from ssl_seg.study.config import StudyConfig
    from ssl_seg.study.planner import StudyPlan

    (files / "s.toml").write_text(
        '[stages.ssl]\ncommand = "train"\ndata = "demo:40"\nbackbone = "net.py:Net"\n'
        '[stages.c]\ncommand = "classify"\ntrain = "demo:40"\ninit = "@ssl"\n'
        '[stages.d]\ncommand = "classify"\ntrain = "demo:40"\ninit = "@c"\nhead = "net.py:Flat"\n'
    )
    group = typer.main.get_command(command_line.app)
    from ssl_seg.workflows.study_components import check_components

    with group.make_context("ssl-seg", ["list"]) as context:
        plan = StudyPlan(StudyConfig(files / "s.toml"), flag_validator(context))
        check_components(plan.file)
    assert code()
    assert [job.flags["backbone"] for job in plan.jobs] == ["net.py:Net"] * 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("net.py:Net", "./a/net.py:Net", True),
        ("net.py:Net", "net.py:Other", False),
        ("a/net.py:p=x/y", "b/net.py:p=x/y", True),
        ("a/net.py:p=x/y", "b/net.py:p=z/y", False),
        ("a,./net.py:M", "b,./net.py:M", False),
        ("resnet50", "x/resnet50", False),
    ],
)
def test_code_is_the_same_wherever_its_file_lies(one, other, same):
    assert same_code(one, other) is same


@pytest.mark.parametrize("kind", ["ssl", "backbones", "heads", "datasets", "metrics"])
def test_the_registry_takes_code_from_nobody_but_a_person(files, code, kind):
    registry = load_plugins().registry
    name = f"net.py:{PARTS[kind]}"
    for read in (name, str(TypedName(name)), json.loads(json.dumps(name))):
        with pytest.raises(WeightsError):
            registry.factory(kind, read)
    assert not code()
    assert callable(registry.factory(kind, TypedName(name)))


# where a name becomes one that a person has typed, and why it is one
TYPES = {
    ("workflows/flag_values.py", "config_from_flags"): "the parameters of a command",
    ("workflows/study_components.py", "check_components"): "a study's file",
    ("workflows/study_components.py", "_check_method"): "a study's file",
    ("workflows/component_check.py", "check_all"): "the argument",
    ("workflows/inference.py", "__init__"): "flags",
    ("workflows/inference.py", "dataset"): "DATA",
    ("workflows/export.py", "subject_of"): "flags",
    ("workflows/view_figure.py", "draw_training_views"): "--ssl and DATA",
    ("workflows/mask_evaluation.py", "evaluate_mask_folder"): "DATA",
    ("workflows/architecture_figure.py", "draw_networks"): "RUN and flags",
    ("workflows/model_from_names.py", "from_names"): "parts of a typed name",
    ("weights/load.py", "_typed"): "keywords of `load`",
    ("plugins/ssl-seg-sam/src/ssl_seg_sam/command.py", "_open"): "FOLDER",
}
# what imports code by a name that is computed
IMPORTS = {
    ("utils/code_names.py", "_module_of"): "a typed name",
    ("plugins.py", "built_in_modules"): "our own",
    ("heads/smp.py", "_smp"): "one of three of its modules",
    ("plugins.py", "load_plugins"): "an installed package",
    ("cli.py", "add_plugin_commands"): "an installed package",
    ("workflows/component_check.py", "_packaged"): "an installed package, whose name was typed",
    ("__init__.py", "__getattr__"): "our own",
}
# what reads names from files, by the reader it calls
OPENS = {"workflows/model_from_names.py", "weights/load.py"}
READING = {
    "read_metadata": {"workflows/init_weights.py", "workflows/export.py", *OPENS},
    # class_marks takes the colors of classes from it, for `figure confusion` and `report`
    "read_model_metadata": {
        "figures/class_marks.py",
        "workflows/trained_model.py",
        "workflows/study_report.py",
        *OPENS,
    },
}
# those that are not among READERS take numbers and texts from it, and build nothing
READING["read_toml"] = {
    "commands/config.py",
    "workflows/model_from_names.py",
    "results/planned_epochs.py",
    "figures/mask_gallery.py",
    "engine/run_dir.py",
    "engine/run_settings.py",
    "exporting/run_record.py",
    "plugins/ssl-seg-sam/src/ssl_seg_sam/runs.py",
    "reporting/collect.py",
    "results/mask_snapshots.py",
    "results/pretraining.py",
    "results/run_list.py",
    "study/config.py",
    "study/planner.py",
    "weights/readers.py",
}


def prompt(path):
    return path.relative_to(ROOT).as_posix().removeprefix("src/ssl_seg/")


def calls(path):
    """(innermost function, what is called or handed to a call) of a file."""

    def walk(node, function):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.Call):
            constant = node.args and isinstance(node.args[0], ast.Constant)
            yield function, ast.unparse(node.func), constant
            yield from ((function, inputs.id, False) for inputs in node.args if isinstance(inputs, ast.Name))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    yield from walk(ast.parse(path.read_text()), "")


def callers(*names):
    """Where something is called with an argument that is computed."""
    return {
        (prompt(path), function)
        for path in SOURCES
        for function, called, constant in calls(path)
        if (called in names or called.rpartition(".")[2] in names) and not constant
    }


def test_names_become_typed_only_where_a_person_types_them():
    checked = {("utils/code_names.py", "refuse_code")}  # an argument of isinstance
    assert callers("TypedName") - checked == set(TYPES)


def test_code_is_imported_by_a_computed_name_only_here():
    importing = (
        "import_module",
        "exec_module",
        "__import__",
        "run_path",
        "run_module",
        "load_module",
        "point.load",
    )
    assert callers(*importing) == set(IMPORTS)


@pytest.mark.parametrize("reader", READING)
def test_whoever_reads_names_from_files_is_known(reader):
    """A new one belongs into READERS above, so that it is shown to import nothing."""
    known = {where for where, _ in callers(reader)}
    assert known - {"weights/backbone_file.py", "weights/model_file.py", "utils/toml.py"} == READING[reader]


def test_no_module_that_reads_names_makes_them_typed_but_the_figure_of_networks():
    both = {where for where, _ in TYPES} & set().union(*READING.values())
    assert both == {"workflows/export.py", "workflows/model_from_names.py", "weights/load.py"}


def test_sam_does_not_import_what_a_run_names(files, code):
    from ssl_seg_sam.runs import SegmentRun

    run = SegmentRun(files, {"val": "net.py:masks=x"}, {})
    with pytest.raises(SslSegError):
        run.image_source({})
    assert not code()
