"""`--deterministic`: on for one run, off after it, recorded, and clear about what cannot be had."""

import os
import tomllib

import pytest
import torch

from ssl_seg.engine.deterministic import as_refusal, deterministic
from ssl_seg.errors import UsageError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def state():
    cudnn = torch.backends.cudnn
    debug = torch.get_deterministic_debug_mode()
    return debug, cudnn.benchmark, cudnn.deterministic, os.environ.get(WORKSPACE)


@pytest.mark.parametrize("given", [None, ":16:8"])
@pytest.mark.parametrize("mode", [0, 1])
def test_it_is_on_for_the_block_alone(given, mode, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    if given:
        monkeypatch.setenv(WORKSPACE, given)
    else:
        monkeypatch.delenv(WORKSPACE, raising=False)
    torch.set_deterministic_debug_mode(mode)
    try:
        before = state()
        with pytest.raises(ZeroDivisionError), deterministic():
            assert state() == (2, False, True, given or ":4096:8")
            raise ZeroDivisionError
        assert state() == before
    finally:
        torch.set_deterministic_debug_mode(0)


def test_what_cannot_be_had_is_named():
    before = state()
    refused = pytest.raises(UsageError, match="^put_ has no deterministic implementation")
    with refused as caught, deterministic():
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert caught.value.next == "omit --deterministic"
    assert state() == before
    with pytest.raises(RuntimeError, match="shapes"), deterministic():
        raise RuntimeError("shapes do not fit")


def test_the_refusal_of_cublas_is_known():
    text = "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or ..."
    assert "cuBLAS" in as_refusal(RuntimeError(text)).what
    assert as_refusal(ValueError(text)) is None and as_refusal(RuntimeError("CUDA error")) is None


HEAD = """
import torch
from ssl_seg.base import Head
from torch import nn

class Watcher(Head):
    def __init__(self, channels, strides, classes, *, odd: bool = False):
        super().__init__()
        self.last, self.odd = nn.Linear(channels[-1], classes), odd
    def forward(self, features, size=None):
        assert torch.are_deterministic_algorithms_enabled()
        if self.odd:
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        return self.last(features[-1].mean(dim=(2, 3)))
"""


@pytest.fixture
def classify(cli, tmp_path):
    (tmp_path / "watcher.py").write_text(HEAD)
    words = (
        "classify",
        "demo:16",
        "--val",
        "demo:8",
        "--backbone",
        "test_resnet",
        "--image-size",
        32,
        "--cpu",
    )
    words += ("--batch-size", 8, "--epochs", 1, "--head", f"{tmp_path / 'watcher.py'}:Watcher")
    return lambda *more: cli(*words, *more, "--out", tmp_path / "run")


def test_a_run_with_it(classify, cli, tmp_path):
    code, _, err = classify("--deterministic")
    assert code == 0, err
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_has_none_is_no_bug(classify, tmp_path):
    code, _, err = classify("--deterministic", "-o", "head.odd=true")
    assert code == 2, err
    assert "error[2] put_ has no deterministic implementation on this device\nnext: omit --deter" in err
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_run_before_there_was_such_a_switch_goes_on_without():
    from ssl_seg.engine.run_settings import check_resume_config

    check_resume_config({"deterministic": False, "seed": 1}, {"seed": 1})
    with pytest.raises(UsageError, match="flags differ from those") as caught:
        check_resume_config({"deterministic": True, "seed": 1}, {"seed": 1})
    assert caught.value.where == "deterministic: was False, now True"


def test_a_study_sets_it_like_any_flag(cli, tmp_path):
    file = tmp_path / "study.toml"
    stage = '[stages.a]\ncommand = "classify"\ntrain = "demo:16"\nval = "demo:8"\ndeterministic = true\n'
    file.write_text(f'out = "{tmp_path}/out"\nseeds = [0]\n[defaults.classify]\nepochs = 1\n{stage}')
    code, _, err = cli("study", file, "--dry-run")
    assert code == 0, err
    file.write_text(file.read_text().replace("deterministic = true", 'deterministic = "perhaps"'))
    assert cli("study", file, "--dry-run")[0] == 2
