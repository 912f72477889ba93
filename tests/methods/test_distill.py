"""Distillation: the loss, what the teacher sees, and that it stays what and where it is."""

import json
import shutil
import tomllib
from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torchvision.transforms.v2.functional import normalize, resize

from ssl_seg.base import Backbone
from ssl_seg.methods.distill import Distill, feature_loss, pooled_to
from ssl_seg.testing import TinyBackbone, TinyTokens, check_method


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def taught(backbone, **options):
    """By a transformer with maps of another size and width."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = TinyTokens()
    return Distill(backbone, teacher="tokens", **options).use_teacher(network, size=24)


@pytest.mark.parametrize("options", [{}, {"loss": "cosine"}, {"match": "summary"}])
@pytest.mark.parametrize("make", [Distill, taught])
def test_the_contract(make, options):
    check_method(partial(make, **options))


def test_the_class_token_of_a_transformer_is_trained_by_the_summary():
    check_method(partial(taught, match="summary"), backbone=TinyTokens)


def by_hand(student, teacher, loss):
    """Cell by cell, in float64."""
    student, teacher = (each.double().numpy().transpose(0, 2, 3, 1) for each in (student, teacher))
    terms = []
    for s, t in zip(
        student.reshape(-1, student.shape[-1]), teacher.reshape(-1, teacher.shape[-1]), strict=True
    ):
        if loss == "cosine":
            terms.append(1.0 - s @ t / np.linalg.norm(s) / np.linalg.norm(t))
        else:
            whitened = (t - t.mean()) / np.sqrt(t.var() + 1e-5)
            error = np.abs(s - whitened)
            terms.append(np.mean(np.where(error < 2.0, error**2 / 4.0, error - 1.0)))
    return float(np.mean(terms))


@pytest.mark.parametrize("loss", ["smooth_l1", "cosine"])
def test_the_loss_is_that_of_the_paper(loss):
    student, teacher = 3.0 * points(4, 6, 3, 5), 5.0 * points(4, 6, 3, 5, seed=1) + 2.0
    assert feature_loss(student, teacher, loss).item() == pytest.approx(
        by_hand(student, teacher, loss), abs=1e-5
    )
    half = feature_loss(student.bfloat16(), teacher.bfloat16(), loss)
    assert half.dtype == torch.float32


@pytest.mark.parametrize("grid", [(7, 5), (3, 5), (2, 2), (1, 4)])
def test_maps_are_averaged_over_areas(grid):
    maps = points(2, 3, 7, 5)
    torch.testing.assert_close(pooled_to(maps, grid), F.adaptive_avg_pool2d(maps, grid), atol=1e-6, rtol=1e-5)


def test_a_step_is_the_loss_of_projected_maps():
    method = taught(TinyBackbone().eval()).eval()
    images = points(4, 3, 16, 16)
    seen = resize(images, [24, 24], antialias=True)
    target = F.adaptive_avg_pool2d(method.teacher(seen)[-1], 4)
    weight, bias = method.projection.weight[:, :, 0, 0], method.projection.bias
    predicted = torch.einsum("oc,bchw->bohw", weight, method.backbone(images)[-1]) + bias[:, None, None]
    found = method([images])["loss"].item()
    assert found == pytest.approx(by_hand(predicted.detach(), target.detach(), "smooth_l1"), abs=1e-5)


class Watching(Backbone):
    """Keeps what it is shown."""

    channels, strides, side_multiple = (4,), (4,), 8

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 4, 4)

    def forward(self, images):
        self.seen = images
        return [self.layer(images)]


@pytest.mark.parametrize(("size", "side"), [(None, 40), (40, 40), (50, 48), (17, 16)])
def test_the_teacher_sees_views_at_its_size_with_its_normalization(size, side):
    ours = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    theirs = {"mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7)}
    network = Watching()
    method = Distill(TinyBackbone(), teacher="x")
    method.use_teacher(network, size=size, normalization=theirs, of_views=ours)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    method([normalize(images, list(ours["mean"]), list(ours["std"]))])
    wanted = normalize(
        resize(images, [side, side], antialias=True), list(theirs["mean"]), list(theirs["std"])
    )
    torch.testing.assert_close(network.seen, wanted, atol=1e-5, rtol=1e-5)


def test_the_option_is_asked_before_the_size_of_the_weights():
    method = Distill(TinyBackbone(), teacher="x", teacher_size=16).use_teacher(Watching(), size=40)
    method([points(2, 3, 40, 40)])
    assert method.teacher.seen.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("make", [Distill, taught])
def test_the_teacher_stays_frozen_in_evaluation_mode(make):
    method = make(TinyBackbone()).train()
    assert method.backbone.training and not any(part.training for part in method.teacher.modules())
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    before = {name: tensor.clone() for name, tensor in method.teacher.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        losses.append(method([points(8, 3, 16, 16)])["loss"])
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.teacher.state_dict().items())


def test_a_named_teacher_is_no_part_of_the_state_and_moves_along():
    method = taught(TinyBackbone())
    assert {name.split(".")[0] for name in method.state_dict()} == {"backbone", "projection"}
    method.double()
    assert {p.dtype for p in method.teacher.parameters()} == {torch.float64}
    assert torch.isfinite(method([points(2, 3, 16, 16).double()])["loss"])
    with pytest.raises(Exception, match="the teacher 'x' is not loaded"):
        Distill(TinyBackbone(), teacher="x")([points(2, 3, 16, 16)])


# --- runs -----------------------------------------------------------------------------------------

SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu", "--precision", "fp32"]


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """`teacher`, a folder as timm writes it: a small transformer for images of 160 px, with a license."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    net = timm.create_model("test_vit")
    folder = tmp_path / "teacher"
    folder.mkdir()
    save_file(net.state_dict(), folder / "model.safetensors")
    values = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.25] * 3, "num_classes": 1000}
    values |= {"license": "apache-2.0", "fixed_input_size": True}
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": values}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def train(cli, *words, code=0):
    found, _, err = cli("train", "demo:16", "--ssl", "distill", *SHORT, *words)
    assert found == code, err
    return err


def test_a_run_records_the_teacher_and_keeps_the_student_alone(cli, teacher, tmp_path):
    teacher_options = ["-o", "ssl.teacher=local-dir:teacher", "-o", "ssl.teacher_size=64"]
    words = [*teacher_options, "--epochs", 2, "--save-every", 1]
    err = train(cli, *words, "--out", "run")
    assert "teacher: test_vit" in err and "license of the weights: apache-2.0" in err
    resolved = tomllib.loads((tmp_path / "run/run.toml").read_text())["record"]["resolved"]
    assert resolved["ssl"]["teacher"] == "local-dir:teacher" and resolved["ssl"]["teacher_size"] == 64
    noted = resolved["teacher"]
    assert noted["license"] == "apache-2.0" and noted["image_size"] == 160 and len(noted["sha256"]) == 64
    kept = sorted((tmp_path / "run/checkpoints").glob("step-*"))
    names = [name for file in kept[-1].glob("*.safetensors") for name in load_file(file)]
    assert names and not any("teacher" in name or "blocks" in name or "start" in name for name in names)
    student = timm.create_model("test_resnet", num_classes=0).state_dict()
    assert load_file(tmp_path / "run/backbone.safetensors").keys() == student.keys()

    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    for path in sorted((tmp_path / "cut/checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    (tmp_path / "cut/backbone.safetensors").unlink()
    code, _, err = cli("train", "--resume", "--out", "cut")
    assert code == 0, err
    one, two = (load_file(tmp_path / name / "backbone.safetensors") for name in ("run", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "not bit-exact" not in err

    other = load_file(teacher / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in other.items()}, teacher / "model.safetensors")
    code, _, err = cli("train", "--resume", "--out", "cut")
    assert code == 0 and "not bit-exact: teacher.sha256 was" in err


def test_a_run_can_be_the_teacher(cli, teacher):
    train(
        cli, "-o", "ssl.teacher=local-dir:teacher", "-o", "ssl.teacher_size=32", "--epochs", 1, "--out", "one"
    )
    err = train(cli, "-o", "ssl.teacher=one", "-o", "ssl.match=summary", "--epochs", 1, "--out", "two")
    assert "teacher: test_resnet" in err and "matched" in err


def test_what_is_no_teacher_is_told_before_images_are_read(cli, teacher, tmp_path):
    err = train(cli, "--out", "run", code=2)
    assert "distill needs a teacher" in err and "-o ssl.teacher=timm:resnet50.a1_in1k" in err
    err = train(cli, "-o", "ssl.teacher=nowhere", "--out", "run", code=4)
    assert "nowhere" in err
    (teacher / "model.safetensors").write_bytes(b"")
    err = train(cli, "-o", "ssl.teacher=local-dir:teacher", "--out", "run", code=4)
    assert "model.safetensors" in err
    assert not (tmp_path / "run" / "run.toml").exists()
