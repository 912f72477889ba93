"""`ssl-seg list` and `ssl-seg plugins check`."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch import nn

from ssl_seg.commands import check_plugin
from ssl_seg.commands.component_text import methods_table
from ssl_seg.errors import UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import KINDS, PluginFactories, Registry
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.entry_points import PluginSource
from ssl_seg.utils.options import factory_options
from ssl_seg.workflows import component_check
from ssl_seg.workflows.method_list import method_summaries

ROOT = Path(__file__).parents[2]

FAULTY = """
from ssl_seg.base import Backbone, Dataset, Head, Metric, SSLMethod
from ssl_seg.methods.byol import BYOL
from ssl_seg.metrics.knn import KNN
from ssl_seg.testing import TinyBackbone

class Faulty(BYOL):
    def __init__(self, backbone) -> None:
        super().__init__(backbone, hidden=8, dimensions=4)
        self.target_backbone = self.backbone

class Good(BYOL):
    def __init__(self, backbone) -> None:
        super().__init__(backbone, hidden=8, dimensions=4)

class Crash(Good):
    def training_step(self, views):
        return views + 1

def tiny() -> TinyBackbone:
    return TinyBackbone()

def untyped_backbone(): return TinyBackbone()
def untyped_method(backbone): return Good(backbone)
def untyped_dataset(root, split): return None
def untyped_head(channels, strides, classes): return None
def odd(a, b, c, d): return None
class OwnMetric(KNN): pass
class OwnHead(Head): pass
class OwnData(Dataset): pass
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    return path


def test_list_shows_every_kind(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert [line[:-1] for line in out.splitlines() if not line.startswith(" ")] == list(KINDS)
    for name in ("byol", "simclr", "simsiam", "image_folder", "csv_labels", "demo", "knn"):
        assert f"  {name} " in out
    assert "in all" in out, "a thousand backbones are not all shown"
    assert "  resnet50 " in cli("list", "backbones")[1]


def test_list_name_shows_purpose_and_options(cli):
    code, out, _ = cli("list", "byol")
    assert code == 0
    assert out.startswith("byol (ssl, ssl-seg)\n")
    assert re.search(rf"^  decay +{factory_options(BYOL)['decay'].default!r} ", out, re.MULTILINE)
    assert "stem = 'standard'" in cli("list", "resnet18")[1]


def rows_of(text):
    return {row.split()[0]: re.split(r" {2,}", row) for row in text.splitlines()}


def test_list_ssl_shows_what_kind_of_method_each_is(cli):
    code, out, err = cli("list", "ssl")
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert rows.pop("method") == ["method", "family", "network", "views (x side)", "needs", "package"]
    assert rows["byol"] == ["byol", "distillation", "any", "2", "-", "ssl-seg"]
    assert rows["swav"] == ["swav", "clustering", "any", "2 + 4 x 0.43", "-", "ssl-seg"]
    assert [rows[name][2] for name in ("mae", "spark", "supcon")] == ["transformer", "convnet", "any"]
    assert [name for name, row in rows.items() if row[4] == "labels"] == ["supcon"]


def test_the_page_has_the_families_and_views_of_the_code():
    page = (ROOT / "docs" / "methods.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    ours = [row for row in method_summaries(load_plugins().registry) if row.packages == "ssl-seg"]
    views = {row.name: re.sub(r" x [\d.]+", " small", row.views) for row in ours}
    assert {name: (family, count) for name, family, count in told} == {
        row.name: (row.family, views[row.name]) for row in ours
    }


def test_methods_of_others_are_listed_whatever_they_say_of_themselves():
    def broken(backbone):
        raise RuntimeError

    class Odd(BYOL):
        family, network, needs, needs_labels, views = 7, None, "tokens", "no", ()

    class Missing(Mapping):
        def __getitem__(self, key):
            raise ImportError(key)

        def __iter__(self):
            return iter(["missing"])

        def __len__(self):
            return 1

    plain = type("Plain", (nn.Module,), {"__init__": lambda self, backbone: nn.Module.__init__(self)})
    registry = Registry()
    registry.add(
        "ssl",
        PluginFactories(
            PluginSource("theirs"), frozenset(["a", "b", "c"]), {"a": broken, "b": Odd, "c": plain}
        ),
    )
    registry.add("ssl", PluginFactories(PluginSource("lazy"), frozenset(["missing"]), Missing()))
    found = {row.name: (row.family, row.network, row.views, row.needs) for row in method_summaries(registry)}
    assert found == {
        "a": ("", "any", "", ""),
        "b": ("7", "None", "", ""),
        "c": ("", "any", "", ""),
        "missing": ("", "", "", ""),
    }
    assert "missing" in methods_table(registry)[-1] and "lazy" in methods_table(registry)[-1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Good", "ssl"),
        ("untyped_method", "ssl"),
        ("tiny", "backbones"),
        ("untyped_backbone", "backbones"),
        ("untyped_dataset", "datasets"),
        ("OwnData", "datasets"),
        ("untyped_head", "heads"),
        ("OwnHead", "heads"),
        ("OwnMetric", "metrics"),
    ],
)
def test_what_a_factory_makes_is_told_by_class_annotation_or_arguments(file, name, kind):
    registry = Registry()
    assert component_check.kind_of(registry.factory("ssl", TypedName(f"{file}:{name}"))) == kind
    with pytest.raises(UsageError, match="cannot determine"):
        component_check.kind_of(registry.factory("ssl", TypedName(f"{file}:odd")))


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("demo", 0, "demo (datasets) passed all checks"),
        ("knn", 0, "knn (metrics) passed all checks"),
        ("FILE:Good", 0, "(ssl) passed all checks"),
        ("FILE:tiny", 0, "(backbones) passed all checks"),
        ("FILE:Faulty", 7, "failed a check"),
        ("FILE:Crash", 7, "TypeError"),
        ("FILE:Goood", 2, "did you mean 'Good'"),
        ("knm", 2, "did you mean 'knn'"),
        ("nofile.py:A", 2, "file not found"),
    ],
)
def test_checking_a_component(file, capsys, name, code, text):
    assert check_plugin.main(name.replace("FILE", str(file))) == code
    shown = capsys.readouterr()
    assert text in shown.out + shown.err
    assert "Traceback" not in shown.err


def test_a_file_that_cannot_be_imported_is_the_plugins_fault(file, capsys):
    file.write_text("import nowhere_at_all")
    assert check_plugin.main(f"{file}:A") == 7
    assert "nowhere_at_all" in capsys.readouterr().err


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (2, 2), (7, 7), (-9, 7)])
def test_the_command_passes_the_exit_code_of_its_process_on(cli, monkeypatch, ended, code):
    def run(words, **_):
        assert words[1:] == ["-m", "ssl_seg.commands.check_plugin", "knn"]
        return subprocess.CompletedProcess(
            words, ended, f"knn (metrics) {component_check.PASSED}\n" if not ended else ""
        )

    monkeypatch.setattr(component_check.subprocess, "run", run)
    got, _, err = cli("plugins", "check", "knn")
    assert got == code
    assert ("was killed by signal 9" in err) == (ended == -9)


@pytest.mark.slow
def test_a_component_that_ends_the_check_has_not_passed_it(cli, tmp_path):
    path = tmp_path / "leaver.py"
    path.write_text("import os\ndef metric(classes, root=0):\n    os._exit(0)\n")
    code, _, err = cli("plugins", "check", f"{path}:metric")
    assert code == 7
    assert "ended the process before its checks were complete" in err


def test_a_check_that_never_ends_is_given_up(cli, monkeypatch):
    monkeypatch.setattr(component_check, "_TIMEOUT_SECONDS", 0.01)
    code, _, err = cli("plugins", "check", "knn")
    assert code == 7
    assert "timed out after 0.01 s" in err


@pytest.mark.slow
def test_a_check_runs_in_a_process_of_its_own(cli, tmp_path):
    path = tmp_path / "killer.py"
    path.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    code, _, err = cli("plugins", "check", f"{path}:A")
    assert code == 7
    assert "was killed by signal 9" in err
    assert cli("plugins", "check", "knn")[0] == 0
