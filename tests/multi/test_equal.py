"""Two processes compute what one computes: training to 1e-6 in float64 (Lovasz: float32), evaluation bit for bit."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = str(Path(__file__).with_name("worker.py"))
CASES = list(runpy.run_path(WORKER)["CASES"])


@pytest.fixture(scope="module")
def folders(worlds, tmp_path_factory):
    """What the worker leaves: of one process, and of two."""
    made = {}
    for ranks in (1, 2):
        made[ranks] = tmp_path_factory.mktemp(f"of-{ranks}")
        worlds.go([made[ranks]], ranks, file=WORKER)
    return made


def tensors(folder):
    (last,) = folder.glob("checkpoints/step-000005")
    return {
        (name, key): tensor
        for name in ("model", "optimizer")
        for key, tensor in load_file(last / f"{name}.safetensors").items()
        if not key.startswith("rng")
    }


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_trains(folders, case):
    one, two = (tensors(folders[ranks] / case) for ranks in (1, 2))
    assert one.keys() == two.keys()
    start = load_file(folders[1] / case / "checkpoints" / "step-000000" / "model.safetensors")
    moved = max((one["model", key] - start[key]).abs().max().item() for key in start)
    assert moved > 1e-3, "nothing was trained"
    # Adam divides by the size of a gradient: where that is 1e-8, rounding of 1e-16 becomes 1e-10 of a weight
    close = {"rtol": 1e-3, "atol": 1e-5} if "lovasz" in case else {"rtol": 1e-6, "atol": 1e-9}
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, **close, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("case", CASES)
def test_two_processes_say_of_it_what_one_says(folders, case):
    """Loss, accuracy, spread and rank of an epoch are those of all images."""
    one, two = (
        [json.loads(line) for line in (folders[ranks] / case / "scores.jsonl").read_text().splitlines()]
        for ranks in (1, 2)
    )
    assert len(one) == len(two) > 0
    for here, there in zip(one, two, strict=True):
        assert here.keys() == there.keys()
        for name in here.keys() - {"seconds", "images_per_second", "energy_wh"}:
            # spread and rank are computed in float32
            tolerance = 1e-5 if name in ("spread", "rank") else 1e-6
            assert there[name] == pytest.approx(here[name], rel=tolerance), name


def test_each_image_is_looked_at_once_and_all_have_all_features(folders):
    (alone,), (main, other) = (
        [torch.load(folders[ranks] / f"measured-{rank}.pt", weights_only=True) for rank in range(ranks)]
        for ranks in (1, 2)
    )
    for count in range(1, 18):
        for part in (main, other):
            assert torch.equal(part[count]["features"], alone[count]["features"])
            assert torch.equal(part[count]["targets"], alone[count]["targets"])
        both = main[count]["seen"] + other[count]["seen"]
        assert sorted(both) == alone[count]["seen"] == list(range(count))
        whole = alone[count]["confusion"]
        assert torch.equal(main[count]["confusion"] + other[count]["confusion"], whole)
    assert main[17]["seen"] and other[17]["seen"], "one process has done it all"
