"""Methods from the shell: what a step is given, and what a method may ask of the run."""

import json
import tomllib

import pytest
import torch

from ssl_seg.augment.view_list import Views
from ssl_seg.base import SSLMethod

METHODS = {
    "byol": ["hidden=16", "dimensions=8"],
    "fastsiam": ["dimensions=16", "bottleneck=8"],
    "moco_v2": ["dimensions=8", "queue=40"],
    "moco_v3": ["hidden=16", "dimensions=8"],
    "nnclr": ["hidden=16", "dimensions=8", "queue=40"],
    "barlow_twins": ["hidden=16", "dimensions=8"],
    "vicreg": ["hidden=16", "dimensions=8"],
    "vicregl": ["hidden=16", "dimensions=8", "cell_dimensions=8", "crops=1"],
    "densecl": ["dimensions=8", "queue=40"],
    "pixpro": ["hidden=16", "dimensions=8"],
    "spark": ["width=16"],
    "dino": ["prototypes=16", "hidden=16", "bottleneck=8", "crops=2"],
    "mae": ["decoder_width=16", "decoder_depth=1", "decoder_heads=2"],
    "simmim": [],
    "swav": ["hidden=16", "dimensions=8", "prototypes=8", "crops=2", "queue=16"],
    "visreg": ["hidden=16", "dimensions=8", "directions=16", "crops=2"],
    "supcon": ["hidden=16", "dimensions=8"],
    "simclr": ["hidden=16", "dimensions=8", "loss=dclw"],
    "simsiam": ["dimensions=16", "bottleneck=8", "constant_lr=true"],
}


def words(method, out, data="demo:32"):
    options = [word for option in METHODS[method] for word in ("-o", f"ssl.{option}")]
    masked = method in ("spark", "mae", "simmim")
    size = "64" if masked else "32"  # they hide patches, of which a smaller image has too few
    backbone = "test_vit" if method in ("mae", "simmim") else "test_resnet"
    run = ["--epochs", "2", "--batch-size", "8", "--image-size", size, "--cpu", "--on-collapse", "ignore"]
    return ["train", data, "--ssl", method, "--backbone", backbone, "--out", out, *options, *run]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_from_the_shell(cli, tmp_path, method):
    out = tmp_path / "run"
    code, _, err = cli(*words(method, out))
    assert code == 0, err
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[1]["loss"] != lines[0]["loss"]
    settings = tomllib.loads((out / "run.toml").read_text())
    assert settings["ssl"] == method and (out / "backbone.safetensors").exists()


def test_labels_are_for_methods_that_ask_for_them(cli, tmp_path, monkeypatch):
    from ssl_seg.methods.byol import BYOL
    from ssl_seg.methods.supcon import SupCon

    given = {}

    def noting(name, step):
        def noted(self, views):
            given.setdefault(name, []).append(views)
            return step(self, views)

        return noted

    for name, method in (("byol", BYOL), ("supcon", SupCon)):
        monkeypatch.setattr(method, "training_step", noting(name, method.training_step))

    for name in ("byol", "supcon"):
        assert cli(*words(name, tmp_path / name), "--accumulate", "2")[0] == 0
    for name, (_, *steps) in given.items():  # the first is the one whose operations are counted
        assert len(steps) == 16 and all(isinstance(views, Views) for views in steps)
        assert [round(float(views.progress), 4) for views in steps[::2]] == [step / 8 for step in range(8)]
        assert all((views.targets is None) == (name == "byol") for views in given[name])
        assert all(len(views[0]) == 4 == views.boxes.shape[1] for views in steps)
    assert len(torch.cat([views.targets for views in given["supcon"]]).unique()) > 1
    assert not SSLMethod.needs_labels


def test_images_without_labels_are_refused_where_labels_are_needed(cli, tmp_path, photos):
    code, _, err = cli(*words("supcon", tmp_path / "run", data=f"flat:{photos}"))
    assert code == 3 and "supcon trains on labels" in err and "next: a folder per class" in err
    assert not (tmp_path / "run" / "checkpoints").exists() or not any(
        (tmp_path / "run" / "checkpoints").iterdir()
    )


@pytest.mark.parametrize("method", ["swav", "visreg"])
def test_small_crops_suit_the_patches_of_a_transformer(cli, tmp_path, method):
    """Side 27 at 64 px is no multiple of 16."""
    run = words(method, tmp_path / "run")
    run[run.index("test_resnet")], run[run.index("32")] = "test_vit", "64"
    code, _, err = cli(*run)
    assert code == 0, err
