"""Foreign code ends where it was called: with code 7 and its name, whatever it does and wherever it is called."""

import inspect
import json
import sys

import pytest

from ssl_seg import base, hooks

# one plugin of all kinds; at one of its places it does something
PLUGIN = """
import sys
from os import environ
import numpy as np
import typer
from torch import nn
from ssl_seg.augment.recipes import View
from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool

def raises(error):
    raise error

ACTS = {
    "raises": lambda: {}["gone"],
    "exits": lambda: sys.exit(0),
    "ends": lambda: raises(KeyboardInterrupt),
    "closes": lambda: sys.stdout.close(),
    "answers": lambda: raises(typer.Exit(0)),
    "misses": lambda: open("/gone/file"),
}

def at(place):
    where, _, act = environ.get("FAULT", "").partition("|")
    if where == place:
        ACTS[act]()

at("import")

class Net(Backbone):
    channels, strides = (8,), (2,)
    def __init__(self):
        at("backbones()")
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, 2, 1)
    def forward(self, images):
        at("Backbone.forward")
        return [self.one(images).relu()]
    def summary(self, images):
        at("Backbone.summary")
        return self(images)[0].mean((2, 3))
    def no_weight_decay(self):
        at("no_weight_decay")
        return {"one.weight"}

class Patches(Net):
    channels, strides, patch, width, prefix = (8,), (8,), 8, 8, 0
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 8, 8)
    def grid(self, height, width):
        at("Backbone.grid")
        return height // 8, width // 8
    def tokens(self, images, *, keep=None, hide=None, mask_token=None):
        at("Backbone.tokens")
        tokens = self.one(images).flatten(2).mT
        return tokens if keep is None else tokens.gather(1, keep[..., None].expand(-1, -1, 8))

class Mine(SSLMethod):
    views = (View(), View())
    recipe = {"optimizer": "sgd", "lr": 0.1}
    def __init__(self, backbone):
        at("ssl()")
        super().__init__()
        self.backbone = backbone
    def training_step(self, views):
        at("SSLMethod.training_step")
        return {"loss": self.backbone.summary(views[0]).square().mean()}
    def after_step(self, progress):
        at("SSLMethod.after_step")
    def forward(self, views):
        at("SSLMethod.forward")
        return self.training_step(views)

class Top(Head):
    pools = True
    def __init__(self, channels, strides, classes):
        at("heads()")
        super().__init__()
        self.linear = nn.Linear(channels[-1], classes)
    def forward(self, features, size):
        at("Head.forward")
        return self.linear(global_pool(features))

class Pixels(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.one = nn.Conv2d(channels[-1], classes, 1)
    def auxiliary(self, features, size):
        at("auxiliary")
        return self(features, size)
    def forward(self, features, size):
        return nn.functional.interpolate(self.one(features[-1]), size)

class Number(Metric):
    def __init__(self, classes):
        at("metrics()")
    def reset(self):
        at("Metric.reset")
    def update(self, logits, target):
        at("Metric.update")
    def compute(self):
        at("Metric.compute")
        return {"number": 0.5}

class Pictures(Dataset):
    classes = ("a", "b")
    def __init__(self, root, split):
        at("datasets()")
        self.samples = [(f"{root} {index}", index % 2) for index in range(12)]
    def __len__(self):
        at("Dataset.__len__")
        return 12
    def identity(self, index):
        at("Dataset.identity")
        return self.samples[index][0]
    def size(self, index):
        at("Dataset.size")
        return 16, 16
    def image(self, index, canvas):
        at("Dataset.image")
        if "bad" in self.samples[0][0] and index == 3:
            raise ValueError("it is bad")
        colour = np.random.default_rng(ord(self.samples[0][0][0]) * 100 + index).integers(0, 256, (16, 16, 3))
        return colour.astype(np.uint8), (16, 16)
    def mask(self, index, canvas):
        at("Dataset.mask")
        return np.repeat([[0], [1]], 8, 0).repeat(16, 1).astype(np.uint8)
    def file(self, index):
        at("Dataset.file")
        return "file"
    def origin(self, index):
        at("Dataset.origin")
        return "origin"

class Masks(Pictures):
    masks = True
    colours = ((0, 0, 0), (255, 0, 0))

class Lazy(dict):
    def __getitem__(self, name):
        at("a lazy mapping")
        return super().__getitem__(name)

@hookimpl
def ssl_methods():
    at("ssl_methods")
    return {"own": Mine}

@hookimpl
def backbones():
    at("backbones")
    return Lazy(own=Net, own_patches=Patches)

@hookimpl
def heads():
    at("heads")
    return {"own": Top, "own_pixels": Pixels}

@hookimpl
def datasets():
    at("datasets")
    return {"own": Pictures, "own_masks": Masks}

@hookimpl
def metrics():
    at("metrics")
    return {"own": Number}

@hookimpl
def run_start(run):
    at("run_start")

@hookimpl
def step_end(run, step, scores):
    at("step_end")


@hookimpl
def epoch_end(run, epoch, scores):
    at("epoch_end")

@hookimpl
def run_end(run):
    at("run_end")
"""
COMMAND = """
import sys
import typer
from os import environ
def at(place):
    where, _, act = environ.get("FAULT", "").partition("|")
    if where == place:
        {"raises": lambda: {}["gone"], "exits": lambda: sys.exit(3), "closes": lambda: sys.stdout.close()}[act]()
at("the import of a command")
app = typer.Typer()
@app.command()
def hello():
    at("a command")
"""
SHORT = ("--batch-size", 4, "--epochs", 1, "--cpu", "--image-size", 32, "--precision", "fp32", "--out", "run")
TRAIN = ("train", "own:x", "--ssl", "own", "--backbone", "own", *SHORT)
CLASSIFY = (
    "classify",
    "own:x",
    "--val",
    "own:y",
    "--backbone",
    "own",
    "--head",
    "own",
    "--metric",
    "own",
    *SHORT,
)
SEGMENT = (
    "segment",
    "own_masks:x",
    "--val",
    "own_masks:y",
    "--backbone",
    "own",
    "--head",
    "own_pixels",
    *SHORT,
)
MAE = ("train", "own:x", "--ssl", "mae", "--backbone", "own_patches", "-o", "ssl.decoder_width=16", *SHORT)
STEP = "step 1, epoch 1"
# the places where foreign code is called: by which command, and what is said besides its name
PLACES = {
    "import": (TRAIN, "no ssl method 'own'"),
    **{
        hook: (TRAIN, "no ssl method 'own'")
        for hook in ("ssl_methods", "backbones", "heads", "datasets", "metrics")
    },
    "a lazy mapping": (TRAIN, "'own' of my-places 1.2 cannot be loaded"),
    "ssl()": (TRAIN, "ssl method 'own' of my-places 1.2"),
    "backbones()": (TRAIN, "backbone 'own' of my-places 1.2"),
    "heads()": (CLASSIFY, "head 'own' of my-places 1.2"),
    "datasets()": (TRAIN, "dataset 'own' of my-places 1.2"),
    "metrics()": (CLASSIFY, "metric 'own' of my-places 1.2"),
    "no_weight_decay": (TRAIN, "backbone 'own' of my-places 1.2"),
    "Backbone.forward": (TRAIN, STEP),
    "Backbone.summary": (TRAIN, STEP),
    "Backbone.tokens": (MAE, STEP),
    "Backbone.grid": (MAE, "backbone 'own_patches' of my-places 1.2"),
    "SSLMethod.training_step": (TRAIN, STEP),
    "SSLMethod.after_step": (TRAIN, STEP),
    "SSLMethod.forward": (TRAIN, STEP),
    "Head.forward": (CLASSIFY, STEP),
    "auxiliary": (SEGMENT, STEP),
    "Metric.reset": (CLASSIFY, "metric 'own'"),
    "Metric.update": (CLASSIFY, "metric 'own'"),
    "Metric.compute": (CLASSIFY, "metric 'own'"),
    "Dataset.__len__": (TRAIN, "dataset 'own'"),
    "Dataset.identity": (TRAIN, "dataset 'own'"),
    "Dataset.size": (TRAIN, "dataset 'own'"),
    "Dataset.image": (TRAIN, "where: x 0"),
    "Dataset.mask": (SEGMENT, "where: x 0"),
    "Dataset.file": (("train", "own:bad", *TRAIN[2:]), "dataset 'own'"),
}
ACTS = {
    "raises": "KeyError: 'gone'",
    "exits": "SystemExit: 0",
    "ends": "KeyboardInterrupt",
    "closes": "RuntimeError: it closes stdout or stderr",
    "answers": "Exit: 0",
    "misses": "FileNotFoundError: [Errno 2] No such file or directory: '/gone/file'",
}
OBSERVERS = ("run_start", "step_end", "epoch_end", "run_end")
NEVER = {"Dataset.origin"}  # called for built-in formats alone


@pytest.fixture
def places(package, tmp_path, monkeypatch):
    """The plugin is installed, and this is a folder of its own."""
    monkeypatch.chdir(tmp_path)
    package("my-places", PLUGIN)
    return tmp_path


def test_every_place_is_in_the_table():
    nouns = {
        f"{noun.__name__}.{name}"
        for noun in NOUNS
        for name, made in vars(noun).items()
        if inspect.isfunction(made)
    }
    called = {name for name in nouns if not name.endswith(".__init__")}
    assert called - NEVER <= set(PLACES)
    specs = {name for name, spec in vars(hooks).items() if hasattr(spec, "ssl_seg_spec")}
    assert specs == {*OBSERVERS} | (specs & set(PLACES))


NOUNS = (base.SSLMethod, base.Backbone, base.Head, base.Metric, base.Dataset)


@pytest.mark.parametrize(
    "words", [TRAIN, CLASSIFY, SEGMENT, MAE], ids=["train", "classify", "segment", "mae"]
)
def test_the_plugin_works_if_nothing_happens(places, cli, words):
    code, _, err = cli(*words)
    assert code == 0, err


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("place", PLACES)
def test_it_ends_with_7_and_its_name(places, cli, monkeypatch, place, act):
    words, said = PLACES[place]
    monkeypatch.setenv("FAULT", f"{place}|{act}")
    code, out, err = cli(*words)
    assert code == 7, err
    assert "my-places 1.2" in err
    assert said in err
    assert ACTS[act] in err
    assert not out and "Traceback" not in err
    status = places / "run" / "status.json"
    if status.exists():
        assert json.loads(status.read_text())["code"] == 7


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("hook", OBSERVERS)
def test_an_observer_is_named_once_and_the_run_lives(places, cli, monkeypatch, hook, act):
    monkeypatch.setenv("FAULT", f"{hook}|{act}")
    code, _, err = cli(*TRAIN, "--epochs", 2)
    assert code == 0, err
    assert err.count(f"warning: plugin my-places:my-places: {hook} failed: {ACTS[act]}") == 1


OBSERVER = """
import torch
from ssl_seg.hooks import hookimpl
@hookimpl
def epoch_end(run, epoch, scores):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
"""


def test_an_observer_changes_no_number(places, package, cli):
    step = "self.backbone.summary(nn.functional.dropout(views[0])).square().mean()"
    (places / "site" / "my_places.py").write_text(
        PLUGIN.replace("self.backbone.summary(views[0]).square().mean()", step)
    )
    losses = []
    for name in ("alone", "watched"):
        if name == "watched":
            package("watcher", OBSERVER)
        code, _, err = cli(*TRAIN, "--epochs", 3, "--out", name)
        assert code == 0, err
        lines = (places / name / "scores.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("command", ["embed", "predict", "evaluate", "export"])
@pytest.mark.parametrize("act", ["raises", "exits", "answers"])
def test_so_it_does_in_the_commands_that_read_a_run(places, cli, monkeypatch, command, act):
    code, _, err = cli(*CLASSIFY)
    assert code == 0, err
    words = {
        "embed": ("embed", "run", "own:z", "--out", "f.npz", "--cpu"),
        "predict": ("predict", "run", "own:z", "--out", "f.csv", "--cpu"),
        "evaluate": ("evaluate", "run", "own:z", "--cpu"),
        "export": ("export", "run", "--to", "onnx", "--out", "f.onnx"),
    }
    monkeypatch.setenv("FAULT", f"Backbone.forward|{act}")
    code, _, err = cli(*words[command])
    assert code == 7, err
    assert "backbone 'own' of my-places 1.2" in err


@pytest.mark.parametrize("act", ["raises", "exits", "ends", "closes"])
@pytest.mark.parametrize("place", ["import", "SSLMethod.training_step", "backbones()"])
def test_so_does_code_in_a_file(tmp_path, cli, monkeypatch, place, act):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.setenv("FAULT", f"{place}|{act}")
    file = "./mine.py"
    code, _, err = cli(
        "train", f"{file}:Pictures=x", "--ssl", f"{file}:Mine", "--backbone", f"{file}:Net", *SHORT
    )
    assert code == 7, err
    assert "mine.py" in err and ACTS[act] in err


@pytest.mark.parametrize(
    ("place", "act", "code", "text"),
    [
        ("a command", "raises", 7, "plugin my-command 1.2 failed: KeyError: 'gone'"),
        ("a command", "closes", 7, "plugin my-command 1.2 failed: RuntimeError: it closes stdout"),
        ("a command", "exits", 3, ""),  # its own answer
        (
            "the import of a command",
            "raises",
            7,
            "command 'hello' of my-command 1.2 failed to load: KeyError",
        ),
        (
            "the import of a command",
            "exits",
            7,
            "command 'hello' of my-command 1.2 failed to load: SystemExit: 3",
        ),
    ],
)
def test_a_command_of_a_plugin(package, cli, monkeypatch, place, act, code, text):
    package("my-command", COMMAND, group="ssl_seg.commands", entry="hello = my_command:app")
    assert cli("hello")[0] == 0
    monkeypatch.setenv("FAULT", f"{place}|{act}")
    sys.modules.pop("my_command")
    ended, _, err = cli("hello")
    assert (ended, text in err) == (code, True), err


def test_flags_that_typer_cannot_read_are_a_fault_of_the_command(package, cli):
    odd = COMMAND.replace("def hello():", "def hello(what: 'Gone'):")
    package("my-command", odd, group="ssl_seg.commands", entry="hello = my_command:app")
    code, _, err = cli("hello")
    assert code == 7 and "command 'hello' of my-command 1.2 failed to load: NameError" in err


def test_a_bug_of_ours_is_none_of_a_plugin(places, cli, monkeypatch):
    from ssl_seg.methods.byol import BYOL

    words = ["train", "demo:32", "--backbone", "own", *SHORT]
    with monkeypatch.context() as patch:
        patch.setattr(BYOL, "after_step", lambda self, progress: {}["gone"])
        code, _, err = cli(*words)
    assert code == 1 and "error[1] internal error: KeyError: 'gone'" in err and "my-places" not in err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("MemoryError()", 6, "out of memory"),
        ("OSError(28, 'No space left on device')", 6, "No space left"),
        ("__import__('ssl_seg.errors').errors.DataError('its data')", 3, "its data"),
    ],
)
def test_what_is_no_fault_of_the_code_keeps_its_own_exit_code(places, cli, error, code, text):
    site = places / "site" / "my_places.py"
    site.write_text(PLUGIN.replace('at("SSLMethod.training_step")', f"raise {error}"))
    ended, _, err = cli(*TRAIN)
    assert (ended, text in err) == (code, True), err


# what is wrong: in place of which line of the plugin, by which command, and what is said of it
LOSS = 'return {"loss": self.backbone.summary(views[0]).square().mean()}'
VECTORS = "return self(images)[0].mean((2, 3))"
MAPS = "return [self.one(images).relu()]"
LOGITS = "return self.linear(global_pool(features))"
PIXELS = "return nn.functional.interpolate(self.one(features[-1]), size)"
NUMBERS = 'return {"number": 0.5}'
IMAGE = "return colour.astype(np.uint8), (16, 16)"
MASK = "return np.repeat([[0], [1]], 8, 0).repeat(16, 1).astype(np.uint8)"
SAMPLES = 'self.samples = [(f"{root} {index}", index % 2) for index in range(12)]'
WRONG = [
    (LOSS, "return None", TRAIN, "training_step returns NoneType"),
    (LOSS, "return 3.0", TRAIN, "training_step returns float"),
    (LOSS, "return views[0].mean()", TRAIN, "training_step returns a float32 tensor ()"),
    (LOSS, "return {'los': views[0].mean()}", TRAIN, "training_step returns a dict of 'los'"),
    (LOSS, "return {'loss': None}", TRAIN, "training_step returns NoneType as 'loss'"),
    (LOSS, "return {'loss': 3.0}", TRAIN, "training_step returns float as 'loss'"),
    (
        LOSS,
        "return {'loss': self.backbone(views[0])[0].mean((1, 2, 3))}",
        TRAIN,
        "a float32 tensor (4,) as `loss`",
    ),
    (
        LOSS,
        "return {'loss': self.backbone(views[0])[0].mean().detach()}",
        TRAIN,
        "a `loss` without a gradient",
    ),
    (LOSS, "return {'loss': views[0].mean()}", TRAIN, "a `loss` without a gradient"),
    (LOSS, f"{LOSS[:-1]}, 'note': 'fine'}}", TRAIN, "training_step returns str as 'note'"),
    (LOSS, f"{LOSS[:-1]}, 'embedding': views[0]}}", TRAIN, "(4, 3, 32, 32) as `embedding`"),
    (VECTORS, "return 3", TRAIN, "summary returns int; expected (4, 8)"),
    (VECTORS, "return images.mean((2, 3))", TRAIN, "summary returns a float32 tensor (4, 3)"),
    (MAPS, "return 3", TRAIN, "forward returns int"),
    (MAPS, "return self.one(images)", TRAIN, "forward returns a float32 tensor (4, 8, 16, 16)"),
    (MAPS, "return []", TRAIN, "forward returns list"),
    (MAPS, "return [images]", TRAIN, "forward returns a float32 tensor (4, 3, 32, 32)"),
    (MAPS, "return [None]", TRAIN, "forward returns list"),
    (
        LOGITS,
        "return None",
        CLASSIFY,
        "forward returns NoneType; expected logits of shape (4, 2) or (4, 2, 32, 32)",
    ),
    (
        LOGITS,
        "return self.linear(global_pool(features))[:, :1]",
        CLASSIFY,
        "forward returns a float32 tensor (4, 1)",
    ),
    (PIXELS, "return self.one(features[-1])", SEGMENT, "forward returns a float32 tensor (1, 2, 8, 8)"),
    ("return self(features, size)", "return 3", SEGMENT, "auxiliary() must return logits"),
    (NUMBERS, "return 0.5", CLASSIFY, "compute() returns 0.5"),
    (NUMBERS, "return None", CLASSIFY, "compute() returns None"),
    (NUMBERS, "return {'number': 'high'}", CLASSIFY, "compute() returns {'number': 'high'}"),
    (IMAGE, "return None", TRAIN, "is not a non-empty uint8 array of shape (h, w, 3)"),
    (IMAGE, "return colour, (16, 16)", TRAIN, "is not a non-empty uint8 array of shape (h, w, 3)"),
    (
        IMAGE,
        "return colour.astype(np.uint8)[..., 0], (16, 16)",
        TRAIN,
        "is not a non-empty uint8 array of shape (h, w, 3)",
    ),
    (IMAGE, "return colour.astype(np.uint8)", TRAIN, "is not a non-empty uint8 array of shape (h, w, 3)"),
    (MASK, "return None", SEGMENT, "is not a uint8 array of shape (h, w)"),
    (MASK, "return np.zeros((16, 16))", SEGMENT, "is not a uint8 array of shape (h, w)"),
    (SAMPLES, "pass", TRAIN, "`samples` is not a list"),
    (
        SAMPLES,
        "self.samples = [1] * 12",
        TRAIN,
        "`samples` must be pairs of path and target, got 1",
    ),
    (SAMPLES, "self.samples = [('a', 2)] * 12", TRAIN, "is not one of the 2 classes"),
    (SAMPLES, "self.samples = [('a', 0)] * 3", TRAIN, "`samples` is not a list of len() entries"),
    ('classes = ("a", "b")', "classes = None", TRAIN, "`classes` is not a list of names"),
    ('return {"one.weight"}', "return 3", TRAIN, "no_weight_decay() must return parameter names"),
    ("views = (View(), View())", "views = 3", TRAIN, "`views` is not a list of View"),
    ("views = (View(), View())", "views = ()", TRAIN, "`views` is not a list of View"),
    ('recipe = {"optimizer": "sgd", "lr": 0.1}', "recipe = 3", TRAIN, "`recipe` is not a dict"),
    ("        self.backbone = backbone\n", "", TRAIN, "`backbone` is not an nn.Module"),
    (
        "channels, strides = (8,), (2,)",
        "channels, strides = (8,), (2, 4)",
        TRAIN,
        "`channels` and `strides` must be integers",
    ),
    ("channels, strides = (8,), (2,)", "channels = (8,)", TRAIN, "`channels` and `strides` must be integers"),
    ('"own": Mine', '"own": lambda backbone: None', TRAIN, "returns NoneType; expected an SSLMethod"),
    ("own=Net", "own=lambda: 3", TRAIN, "returns int; expected a Backbone"),
    ('"own": Top', '"own": lambda *given: "a head"', CLASSIFY, "returns str; expected a Head"),
    ('"own": Pictures', '"own": lambda *given: []', TRAIN, "returns list; expected a Dataset"),
    ('"own": Number', '"own": lambda classes: 0.5', CLASSIFY, "returns float; expected a Metric"),
    ('"own": Number', '"own": "a text"', CLASSIFY, "is not a factory (got str)"),
    ("def __init__(self, backbone):", "def __init__(self, backbone, more):", TRAIN, "TypeError"),
    (
        "def __init__(self, root, split):",
        "def __init__(self, root, split, *, x: 'Gone' = 1):",
        TRAIN,
        "'Gone'",
    ),
]


@pytest.mark.parametrize(("line", "instead", "words", "said"), WRONG)
def test_a_wrong_type_is_named(places, cli, line, instead, words, said):
    assert PLUGIN.count(line) == 1
    (places / "site" / "my_places.py").write_text(PLUGIN.replace(line, instead))
    code, _, err = cli(*words)
    assert code == 7, err
    assert "my-places 1.2" in err and said in err
    assert (STEP in err) == (line in (LOSS, VECTORS, MAPS, LOGITS) or "auxiliary" in said)


def test_a_built_in_part_of_the_wrong_type_is_a_bug(places, cli, monkeypatch):
    from ssl_seg.methods.byol import BYOL

    monkeypatch.setattr(BYOL, "no_weight_decay", lambda self: 3, raising=False)
    code, _, err = cli("train", "demo:32", "--backbone", "own", *SHORT)
    assert (
        code == 1
        and "error[1] internal error: TypeError: BYOL: no_weight_decay() must return parameter names" in err
    )


@pytest.mark.parametrize("act", ACTS)
def test_the_conformance_kit_names_it_too(package, monkeypatch, act):
    from ssl_seg.commands import check_plugin, process

    package("my-places", PLUGIN)
    monkeypatch.setenv("FAULT", f"SSLMethod.training_step|{act}")
    said = []
    monkeypatch.setattr(check_plugin, "show_error", said.append)
    assert process.run(lambda: sys.exit(check_plugin.main("own"))) == 7
    assert "my-places 1.2" in said[0].what and ACTS[act].split(":")[0] in said[0].what
