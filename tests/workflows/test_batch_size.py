"""`--batch-size auto`: by trial on a GPU, by a stated rule elsewhere, recorded as the number that was found."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from ssl_seg.errors import DataError, ResourceError, UsageError
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows import batch_size, trial
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.forecast import Forecast

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--cpu", "--epochs", 1]
GB = 10**9


def pretend(images, fits, *, measured=True, memory=lambda size: size):
    """A run of so many images that ends with an error where a batch is larger than `fits`."""
    tried = []

    def start(config, folder, *, resume):
        size = config.batch_size
        tried.append(size)
        if size > fits:
            raise ResourceError("out of memory") from MemoryError()
        trial._TRIAL.get().forecast = Forecast(
            device="a device",
            inputs=[],
            outputs={},
            parameters={},
            memory=memory(size),
            activations=memory(size) - memory(0),
            measured=measured,
            checkpoint=0,
            device_memory=GB if measured else 0,
            batch_size=size,
            step_seconds=1.0,
            steps=images // size,
            steps_per_epoch=images // size,
            epochs=1,
            validation_seconds=0.0,
            validations=0,
        )

    return start, tried


def found(start, folder, **settings):
    config = PretrainConfig(batch_size=0, **settings)
    return batch_size.with_batch_size(config, start, folder, resume=False).batch_size


@pytest.mark.parametrize(
    ("images", "fits", "accumulate", "expected"),
    [
        (10**6, 100, 1, 64),
        (10**6, 10**6, 1, 4096),
        (100, 10**6, 1, 64),
        (128, 10**6, 1, 128),
        (10**6, 100, 3, 96),
    ],
)
def test_on_a_gpu_batches_are_tried(tmp_path, images, fits, accumulate, expected):
    start, tried = pretend(images, fits)
    assert found(start, tmp_path, accumulate=accumulate) == expected
    assert all(size % accumulate == 0 for size in tried) and max(tried) <= max(2 * expected, 8)


def test_a_tenth_of_the_gpu_stays_free(tmp_path):
    start, _ = pretend(10**6, 10**6, memory=lambda size: size * GB // 128)
    assert found(start, tmp_path) == 64  # 128 would fill it, and its step would still run


def test_elsewhere_the_estimate_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "available_memory", lambda: 2 * 1000)
    for fixed, expected in ((0, 64), (400, 32), (50, 32)):
        start, tried = pretend(10**6, 10**6, measured=False, memory=lambda size, f=fixed: f + size * 15)
        assert found(start, tmp_path) == expected, fixed
        assert tried == [8]


def test_other_errors_are_those_of_the_run(tmp_path):
    def broken(config, folder, *, resume):
        raise DataError("no images")

    with pytest.raises(DataError):
        found(broken, tmp_path)
    start, _ = pretend(100, 4)
    with pytest.raises(ResourceError, match="out of memory with 8 images"):
        found(start, tmp_path)


def test_several_processes_have_to_say_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="one process"):
        found(pretend(100, 100)[0], tmp_path)


def test_the_number_is_recorded_and_the_run_is_that_of_the_number(cli, tmp_path):
    data = ["classify", "demo:40", *TINY]
    code, _, err = cli(*data, "--batch-size", "auto", "--out", tmp_path / "a")
    assert code == 0 and "batch size: 32 (there are fewer than 64 images)" in err, err
    assert read_toml(tmp_path / "a" / "run.toml")["batch_size"] == 32
    assert cli(*data, "--batch-size", 32, "--out", tmp_path / "b")[0] == 0
    weights = [load_file(tmp_path / name / "model.safetensors") for name in "ab"]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[1])
    code, _, err = cli("classify", "--batch-size", "auto", "--resume", "--out", tmp_path / "a")
    assert code == 0, err
    code, _, err = cli(*data, "--batch-size", "big")
    assert code == 2 and "a number from 2 to" in err and "or auto, got 'big'" in err


def test_a_number_stays():
    config = PretrainConfig(batch_size=64)
    assert batch_size.with_batch_size(config, None, None, resume=True) is config
    assert replace(config, batch_size=0).settings()["batch_size"] == 0
