"""Packages made on the fly: what works, and that what is broken harms nobody but itself."""

import json
import re
import signal

import pytest
import torch

from ssl_seg.plugins import load_plugins
from ssl_seg.registry import KINDS
from ssl_seg.utils.interrupt import interruptible

MINE = '''
"""A method and a backbone of somebody else's."""
from torch import Tensor
from ssl_seg.augment.recipes import View
from ssl_seg.base import SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool
from ssl_seg.testing import TinyBackbone

class Mine(SSLMethod):
    """Keeps the features of two views together and away from zero.

    Args:
        pull: how strongly.
    """
    views = (View(), View())

    def __init__(self, backbone, *, pull: float = 2.0) -> None:
        super().__init__()
        self.backbone, self.pull = backbone, pull

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (global_pool(self.backbone(view)) for view in views)
        return {"loss": self.pull * (one - two).square().mean() - one.std(), "pulled": self.pull * one.mean()}

@hookimpl
def ssl_methods():
    return {"mine": Mine}

@hookimpl
def backbones():
    return {"tiny": TinyBackbone}
'''

HEADER = "from ssl_seg.hooks import hookimpl\n"
BROKEN = {
    "raises": ("raise ImportError('no libwonder.so')", "ImportError: no libwonder.so"),
    "syntax": ("def broken(:\n", "SyntaxError"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "base": ("class Odd(BaseException): ...\nraise Odd('odd')", "Odd: odd"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "ends": ("import os\nos._exit(0)", "its import exits the process: os._exit(0)"),
    "closes": ("import sys\nsys.stdout = None\nimport os\nos.chdir('/')\n1 / 0", "ZeroDivisionError"),
    "hook exits": (HEADER + "@hookimpl\ndef heads():\n    raise SystemExit", "SystemExit"),
    "hook ends": (HEADER + "import os\n@hookimpl\ndef heads():\n    os._exit(0)", "os._exit(0)"),
    "misspelt": (
        HEADER + "@hookimpl\ndef ssl_method():\n    return {}",
        "no hook 'ssl_method'; did you mean 'ssl_methods'?",
    ),
    "arguments": (
        HEADER + "@hookimpl\ndef ssl_methods(what):\n    return {}",
        "Argument(s) {'what'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "list": (
        HEADER + "@hookimpl\ndef metrics():\n    return ['f1']",
        "metrics() must return a mapping, not list",
    ),
    "nothing": (HEADER + "@hookimpl\ndef heads():\n    return None", "must return a mapping, not NoneType"),
    "number": (HEADER + "@hookimpl\ndef heads():\n    return {3: print}", "a non-string name 3"),
    "hook": (HEADER + "@hookimpl\ndef datasets():\n    raise OSError('no server')", "OSError: no server"),
    "lazy": (
        HEADER
        + """
from collections.abc import Mapping
class Lazy(Mapping):
    def __getitem__(self, name): raise KeyError(name)
    def __iter__(self): raise RuntimeError('the list is elsewhere')
    def __len__(self): return 1
@hookimpl
def heads(): return Lazy()
""",
        "RuntimeError: the list is elsewhere",
    ),
    "half": (
        HEADER
        + "@hookimpl\ndef backbones():\n    return {'half': print}\n@hookimpl\ndef heads():\n    return 1",
        "must return a mapping, not int",
    ),
}


def names(plugins):
    return {kind: plugins.registry.names(kind) for kind in KINDS}


@pytest.fixture
def train(cli, tmp_path):
    """Two steps of a run on painted scenes."""

    def run(*words):
        small = ("--image-size", 16, "--batch-size", 16, "--epochs", 1, "--cpu", "--precision", "fp32")
        return cli("train", "demo:32", *small, "--out", tmp_path / "run", *words)

    return run


def test_a_package_of_one_file_adds_a_method_and_a_backbone(package, cli, train, tmp_path):
    package("my-plugin", MINE)
    code, _, err = train("--ssl", "mine", "--backbone", "tiny", "-o", "ssl.pull=0.5")
    assert code == 0, err
    line = json.loads((tmp_path / "run" / "scores.jsonl").read_text())
    assert line["step"] == 2
    assert "pulled" in line
    assert "\x1b" not in err

    assert re.search(r"^mine .* my-plugin 1\.2$", cli("list", "ssl")[1], re.MULTILINE)
    assert "tiny                         my-plugin 1.2" in cli("list", "backbones")[1]
    shown = cli("list", "mine")[1]
    assert "mine (ssl, my-plugin 1.2)" in shown
    assert "Keeps the features of two views together" in shown
    assert "pull = 2.0  (float)" in shown
    assert "my-plugin 1.2\n  ssl: mine\n  backbones: tiny\n" in cli("plugins")[1]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_package_is_named_and_harms_nobody(package, kind):
    whole = names(load_plugins())
    code, reason = BROKEN[kind]
    kind = kind.replace(" ", "-")
    package(f"bad-{kind}", code)
    with interruptible():  # as in a command
        plugins = load_plugins()
    assert names(plugins) == whole
    assert len(plugins.registry.failures) == 1
    line = plugins.registry.failures[0]
    assert f"plugin 'bad-{kind}' of bad-{kind} 1.2 is disabled" in line
    assert reason in line
    assert "\n" not in line


CHANGES = """
import random, signal, numpy, torch
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.manual_seed(1)
numpy.random.seed(1)
random.seed(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


def test_what_a_package_changes_is_set_back_and_named(package, cli):
    random, before = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    package("changer", CHANGES + MINE)
    _, out, _ = cli("plugins")
    states = (
        "torch's default dtype, torch's grad mode, torch's generator, numpy's generator, Python's generator, "
        "signal handlers"
    )
    assert f"plugin 'changer' of changer 1.2 changed {states} at import: restored\n" in out
    assert "changer 1.2\n  ssl: mine\n" in out, "it is used all the same"
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random) and signal.getsignal(signal.SIGINT) == before


def test_a_long_import_is_named_with_the_way_out(package, cli, monkeypatch):
    load_plugins()  # what else is installed may take its time
    monkeypatch.setattr("ssl_seg.utils.importing._SAID", 0.05)
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.2")
    package("endless", "while True: pass")
    _, out, _ = cli("plugins")
    assert "plugin 'endless' of endless 1.2 is disabled: import timed out after 0 s; " in out
    assert "SSL_SEG_DISABLE_PLUGINS=endless disables it" in out


@pytest.mark.parametrize("name", ["bad", "BAD-package", "other, bad_package"])
def test_plugins_can_be_left_out_by_name(package, cli, monkeypatch, name):
    package("bad-package", "import os\nos.abort()", entry="bad = bad_package")
    package("its-command", "import os\nos.abort()", group="ssl_seg.commands", entry="bad = its_command:app")
    monkeypatch.setenv("SSL_SEG_DISABLE_PLUGINS", name)
    code, out, _ = cli("plugins")
    assert code == 0
    assert "plugin 'bad' of bad-package 1.2 is disabled by SSL_SEG_DISABLE_PLUGINS\n" in out
    assert ("no plugin or package named 'other'" in out) == ("other" in name)
    if name == "bad":
        assert "plugin 'bad' of its-command 1.2 is disabled by SSL_SEG_DISABLE_PLUGINS\n" in out
        assert cli("bad")[0] == 2


def test_the_way_out_is_said_where_plugins_are_listed(package, cli):
    assert "SSL_SEG_DISABLE_PLUGINS" in cli("plugins", "--help")[1]
    assert "SSL_SEG_DISABLE_PLUGINS" not in cli("plugins")[1]
    package("bad-raises", BROKEN["raises"][0])
    assert "SSL_SEG_DISABLE_PLUGINS=NAME,... disables plugins" in cli("plugins")[1]


def test_a_package_after_a_broken_one_still_works(package):
    package("a-bad", BROKEN["hook"][0])
    package("b-good", MINE)
    plugins = load_plugins()
    assert "mine" in plugins.registry.names("ssl")
    assert len(plugins.registry.failures) == 1


def test_broken_packages_leave_commands_and_training_alone(package, cli, train):
    for kind in ("raises", "misspelt", "lazy"):
        package(f"bad-{kind}", BROKEN[kind][0])
    package("my-plugin", MINE)
    assert cli("--help")[0] == 0
    for words in (("list",), ("plugins",), ("doctor",)):
        code, out, err = cli(*words)
        assert code == (6 if words == ("doctor",) else 0)
        for kind in ("raises", "misspelt", "lazy"):
            assert f"bad-{kind} 1.2 is disabled: " in out + err
            assert BROKEN[kind][1] in out + err
    code, _, err = train("--ssl", "mine", "--backbone", "tiny")
    assert code == 0, err


def test_a_name_that_a_broken_package_may_have_brought_repeats_its_line(package, cli):
    package("bad-raises", BROKEN["raises"][0])
    for name, expected in (("wonder", 7), ("boyl", 2)):  # a typing error is one all the same
        code, _, err = cli("train", "demo:32", "--ssl", name)
        assert code == expected
        assert f"no ssl method {name!r}" in err
        assert "bad-raises 1.2 is disabled: ImportError: no libwonder.so" in err


@pytest.mark.parametrize(
    ("entry_points", "reason"),
    [(b"[ssl_seg]\nno equals sign\n", "cannot be read"), (b"[ssl_seg]\na = b\xff\n", "UnicodeDecodeError")],
)
def test_metadata_that_cannot_be_read_costs_its_own_package_alone(package, cli, entry_points, reason):
    site = package("my-plugin", MINE)
    package("bad-meta", "")
    (site / "bad_meta-1.2.dist-info" / "entry_points.txt").write_bytes(entry_points)
    plugins = load_plugins()
    assert "mine" in plugins.registry.names("ssl")
    assert len(plugins.registry.failures) == 1
    assert "bad_meta-1.2.dist-info" in plugins.registry.failures[0]
    assert reason in plugins.registry.failures[0]
    assert cli("--help")[0] == 0


def test_a_package_without_metadata_has_the_name_of_its_folder(package):
    site = package("my-plugin", MINE)
    (site / "my_plugin-1.2.dist-info" / "METADATA").unlink()
    plugins = load_plugins()
    assert [str(source) for source in plugins.registry.providers("ssl", "mine")] == ["my_plugin-1.2"]


def test_of_two_copies_on_the_path_the_first_counts(package, tmp_path, monkeypatch):
    package("my-plugin", MINE)
    old = tmp_path / "old" / "my_plugin-0.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 0.1\n")
    (old / "entry_points.txt").write_text("[ssl_seg]\nmy-plugin = my_plugin\n")
    monkeypatch.syspath_prepend(tmp_path / "old")
    registry = load_plugins().registry
    assert [str(source) for source in registry.providers("ssl", "mine")] == ["my-plugin 0.1"]
    assert registry.conflicts_and_errors() == []


@pytest.mark.parametrize("owners", [["rival"], ["first", "second"]])
def test_a_name_of_two_owners_is_an_error_that_names_both(package, cli, owners):
    name = "byol" if owners == ["rival"] else "wonder"
    for owner in owners:
        package(owner, HEADER + f"@hookimpl\ndef ssl_methods():\n    return {{{name!r}: print}}")
    both = f"{name!r} (ssl) is provided by " + (
        "ssl-seg and rival 1.2" if owners == ["rival"] else "first 1.2 and second 1.2"
    )
    code, _, err = cli("train", "demo:32", "--ssl", name)
    assert code == 7
    assert both in err
    for command in ("list", "plugins", "doctor"):
        code, out, err = cli(command)
        assert code == (6 if command == "doctor" else 0)
        assert both in out + err
    plugins = load_plugins()
    assert plugins.registry.factory("ssl", "simclr")


def test_one_module_announced_twice_stays_once(package, tmp_path):
    package("my-plugin", MINE)
    package("shadow", "", entry="shadow = my_plugin")
    plugins = load_plugins()
    assert [str(source) for source in plugins.registry.providers("ssl", "mine")] == ["my-plugin 1.2"]
    assert (
        "plugin 'shadow' of shadow 1.2 is disabled: ValueError: it is registered already"
        in (plugins.registry.failures[0])
    )


def test_a_lazy_mapping_that_fails_when_asked_is_an_error_of_that_name_alone(package, cli):
    package(
        "lazy-one",
        HEADER
        + """
class Lazy(dict):
    def __getitem__(self, name): raise OSError('the server is away')
@hookimpl
def ssl_methods(): return Lazy(far=1, away=2)
@hookimpl
def heads(): return {'three': 3}
""",
    )
    code, _, err = cli("train", "demo:32", "--ssl", "far")
    assert code == 7
    assert "'far' of lazy-one 1.2 cannot be loaded: OSError: the server is away" in err
    code, _, err = cli("list", "three")
    assert code == 7
    assert "'three' of lazy-one 1.2 is not a factory (got int" in err
    assert load_plugins().registry.factory("ssl", "byol")


OBSERVER = """
import json
from ssl_seg.hooks import hookimpl
seen = []

@hookimpl
def run_start(run):
    seen.append(("run_start", (run.folder / "run.toml").exists()))

@hookimpl
def epoch_end(scores, epoch, run):
    seen.append(("epoch_end", epoch, dict(scores), run.scores()[-1]))

@hookimpl
def run_end(run):
    status = json.loads((run.folder / "status.json").read_text())
    seen.append(("run_end", (run.folder / "backbone.safetensors").exists(), status["state"]))
"""


def test_an_observer_sees_what_the_hooks_promise(package, train):
    package("my-plugin", MINE)
    package("watcher", OBSERVER)
    code, _, err = train("--ssl", "mine", "--backbone", "tiny", "--epochs", 2, "--probe", "demo:40")
    assert code == 0, err
    import watcher

    start, one, two, end = watcher.seen
    assert start == ("run_start", True)
    assert end == ("run_end", True, "finished")
    for epoch, event in ((1, one), (2, two)):
        assert event[:2] == ("epoch_end", epoch)
        scores = event[2]
        assert {"epoch", "step", "seconds", "images_per_second", "loss", "probe_knn"} <= set(scores)
        assert scores["epoch"] == epoch
        assert event[3] == json.loads(json.dumps(scores)), "the line is written before the observer is called"


@pytest.mark.parametrize(
    ("hook", "act"),
    [
        ("run_start", "raise ValueError('no network')"),
        ("epoch_end", "raise SystemExit(4)"),
        ("run_end", "raise ValueError('no network')"),
    ],
)
def test_a_broken_observer_is_reported_once_and_the_run_lives(package, train, tmp_path, hook, act):
    package("my-plugin", MINE)
    package("watcher", HEADER + f"@hookimpl\ndef {hook}(run):\n    {act}")
    code, _, err = train("--ssl", "mine", "--backbone", "tiny", "--epochs", 2)
    assert code == 0, err
    log = (tmp_path / "run" / "run.log").read_text()
    assert log.count(f"plugin watcher:watcher: {hook} failed: ") == 1
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


PART = """
from torch import nn
from ssl_seg.augment.recipes import View
class Part(nn.Module):
    channels = strides = (1,)
    views, recipe, backbone = [View()], {}, nn.Identity()
    classes = samples = ()
    def __init__(self, *given):
        super().__init__()
        self.given = given
    def __len__(self):
        return 0
    def nothing(self, *given): ...
    training_step = after_step = reset = update = compute = identity = image = size = origin = file = nothing
"""


def test_a_package_can_bring_all_five_kinds(package):
    package(
        "all-kinds",
        HEADER
        + PART
        + "".join(f"@hookimpl\ndef {hook}():\n    return {{'own': Part}}\n" for hook in KINDS.values()),
    )
    registry = load_plugins().registry
    given = {"ssl": (1,), "backbones": (), "heads": (1, 2, 3), "datasets": ("a", "b"), "metrics": ((),)}
    for kind, values in given.items():
        assert registry.build(kind, "own", *values).given == values


def test_a_file_named_in_a_toml_trains_and_names_the_run(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "f.toml").write_text(
        'data = "demo:32"\nssl = "./mine.py:Mine"\nbackbone = "./mine.py:TinyBackbone"\n'
        'image_size = 16\nbatch_size = 16\nepochs = 1\ncpu = true\nprecision = "fp32"\no.ssl.pull = 0.5\n'
    )
    code, _, err = cli("train", "--config", "f.toml")
    assert code == 0, err
    run = tmp_path / "runs" / "Mine-TinyBackbone-demo:32"
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert 'pull = "0.5"' in (run / "run.toml").read_text()

    code, _, err = cli("train", "--config", run / "run.toml", "--out", "again")
    assert code == 0, err
    first, again = (json.loads((folder / "scores.jsonl").read_text()) for folder in (run, tmp_path / "again"))
    assert first["loss"] == again["loss"], "run.toml repeats the run"
