"""`-o ssl.recipe=paper` from the shell."""

import pytest

from ssl_seg.base import PaperRecipe
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.options import check_options
from ssl_seg.utils.toml import read_toml

SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 4, "--epochs", 2, "--cpu"]
PAPER = ["-o", "ssl.recipe=paper"]


def settings_of(cli, run, *words):
    code, _, err = cli("train", "demo:12", *SMALL, *words, "--out", run)
    assert code == 0, err
    found = read_toml(run / "run.toml")
    return found, found["record"]["resolved"]["ssl"]


def test_options_and_optimizer_are_the_papers_and_recorded(cli, tmp_path):
    found, options = settings_of(cli, tmp_path / "r", *PAPER)
    assert found["o"]["ssl"] == {"recipe": "paper"}
    assert options == {"hidden": 4096, "dimensions": 256, "decay": 0.996, "last_norm": False}
    assert (found["optimizer"], found["weight_decay"], found["warmup"]) == ("lars", 1.5e-6, 0.01)
    assert found["lr"] == pytest.approx(0.2 * 4 / 256)
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r")
    assert code == 0 and "not bit-exact" not in err, err


def test_other_options_and_flags_hold_over_it(cli, tmp_path):
    words = [*PAPER, "-o", "ssl.hidden=16", "--lr", 0.5, "--warmup", 0]
    found, options = settings_of(cli, tmp_path / "r", *words)
    assert options == {"hidden": 16, "dimensions": 256, "decay": 0.996, "last_norm": False}
    assert (found["lr"], found["warmup"], found["optimizer"]) == (0.5, 0.0, "lars")
    found, _ = settings_of(cli, tmp_path / "adamw", *PAPER, "-o", "ssl.hidden=16", "--optimizer", "adamw")
    assert (found["optimizer"], found["lr"]) == ("adamw", 1e-3)


def test_default_is_the_default(cli, tmp_path):
    found, options = settings_of(cli, tmp_path / "r", "-o", "ssl.recipe=default")
    assert (found["optimizer"], options["decay"], "recipe" in options) == ("adamw", 0.99, False)


def test_an_unknown_recipe_is_refused_with_those_there_are(cli, tmp_path):
    code, _, err = cli("train", "demo:12", *SMALL, "-o", "ssl.recipe=papr", "--out", tmp_path / "r")
    assert code == 2 and "ssl byol has no recipe 'papr'; did you mean 'paper'" in err
    assert "-o ssl.recipe=default or paper" in err


class Plain(BYOL):
    """Without a paper."""

    paper = None


class Misspelt(BYOL):
    """A paper's option that the method does not have."""

    paper = PaperRecipe(options={"hiden": 8}, recipe={})


class OwnOption(BYOL):
    """An option of that name is the method's own."""

    def __init__(self, backbone, *, recipe: int = 3):
        super().__init__(backbone)


def test_a_method_without_a_paper_and_one_whose_paper_does_not_fit_it(tmp_path):
    with pytest.raises(UsageError, match="ssl plain has no recipe 'paper'") as caught:
        check_options(Plain, "ssl plain", {"recipe": "paper"})
    assert caught.value.next == "-o ssl.recipe=default"
    with pytest.raises(
        TypeError, match="the paper's options: ssl m has no option 'hiden'; did you mean 'hidden'"
    ):
        check_options(Misspelt, "ssl m", {"recipe": "paper"})
    assert check_options(OwnOption, "ssl own", {"recipe": "7"}) == {"recipe": 7}
    file = tmp_path / "mine.py"
    file.write_text("from ssl_seg import BYOL\nclass Mine(BYOL):\n    paper = {'options': {}}\n")
    from ssl_seg.utils.code_names import TypedName

    registry = load_plugins().registry
    with pytest.raises(PluginError, match="its `paper` is no PaperRecipe"):
        registry.resolved("ssl", TypedName(f"{file}:Mine"), {"recipe": "paper"})


def test_a_study_knows_the_papers_optimizer(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = '[stages.a]\ncommand = "train"\ndata = "demo:12"\nssl = "supcon"\noptimizer = "lars"\n'
    (tmp_path / "s.toml").write_text(stage)
    code, _, err = cli("study", "s.toml", "--dry-run")
    assert code == 2 and "supcon has no learning rate for lars" in err
    (tmp_path / "s.toml").write_text(stage.replace("supcon", "swav") + 'o.ssl.recipe = "paper"\n')
    assert cli("study", "s.toml", "--dry-run")[0] == 0


def test_list_shows_both_columns(cli):
    rows = [line.split() for line in cli("list", "byol")[1].splitlines()]
    for row in (["hidden", "1024", "4096", "int"], ["lr", "0.001", "0.2"], ["optimizer", "adamw", "lars"]):
        assert row in rows
