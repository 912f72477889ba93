"""`--device`: one parser of names, a clear error for what is not there, recorded and free at a resume."""

import pytest
import torch

import ssl_seg
from ssl_seg.engine.device import Device
from ssl_seg.engine.device_names import find_device
from ssl_seg.errors import UsageError
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.object_names import with_settings

TRAIN = ["train", "demo:16", "--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8]


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_names_are_devices(two_gpus):
    assert find_device("auto") is None
    assert find_device("cpu") == find_device("cpu", 2) == torch.device("cpu")
    assert find_device("cuda") == torch.device("cuda:0")
    assert find_device("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "mps"):
        with pytest.raises(UsageError, match=f"no device '{name}' here: there is cpu, cuda:0, cuda:1"):
            find_device(name)
    with pytest.raises(UsageError, match="one device for 2 processes"):
        find_device("cuda:1", 2)


def test_precision_is_that_of_the_device():
    assert Device(name="cpu").device == Device(cpu=True).device == torch.device("cpu")
    with Device("bf16", name="cpu").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--device", "gpu"], "one of auto, cpu, cuda, cuda:N, mps, got 'gpu'"),
        (["--device", "cuda:7"], "error[2] no device 'cuda:7' here: there is cpu"),
        (["--device", "cuda:7", "--cpu"], "error[2] --cpu and --device cuda:7 exclude each other"),
    ],
)
def test_a_device_that_is_not_there(cli, tmp_path, flags, text):
    code, _, err = cli(*TRAIN, *flags, "--out", tmp_path / "run")
    assert code == 2 and text in err, err
    assert not (tmp_path / "run").exists()


def test_it_is_recorded_and_a_resumed_run_may_have_another(cli, tmp_path):
    run = tmp_path / "run"
    assert cli(*TRAIN, "--epochs", 1, "--device", "CPU", "--out", run)[0] == 0
    assert read_toml(run / "run.toml")["device"] == "cpu" and "cpu" not in read_toml(run / "run.toml")
    code, _, err = cli("train", "--resume", "--out", run, "--device", "auto")
    assert code == 0, err
    old = tmp_path / "old.toml"  # of a run of an earlier version
    old.write_text('cpu = true\ndata = "demo:16"\n')
    code, _, err = cli("train", *TRAIN[2:], "--config", old, "--device", "cuda:7", "--out", tmp_path / "b")
    assert code == 2 and "no device 'cuda:7'" in err, err  # what is typed holds
    code, _, err = cli("embed", run, "demo:16", "--device", "cuda:7", "--out", tmp_path / "f.npz")
    assert code == 2 and "no device 'cuda:7'" in err, err


def test_settings_of_python_take_both_names():
    assert with_settings(PretrainConfig(), {"cpu": True}).device == "cpu"
    assert with_settings(PretrainConfig(), {"device": "cpu"}).device == "cpu"
    assert ssl_seg.PretrainConfig().device == "auto"
