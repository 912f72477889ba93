"""A trained network, opened again with one call."""

import pytest
import torch

from ssl_seg import Backbone, Model, load
from ssl_seg.errors import WeightsError

SIZE = ["--image-size", 32, "--batch-size", 8, "--epochs", 1, "--cpu", "--backbone", "test_resnet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def masks(cli, folder):
    run = folder / "masks"
    if not run.exists():
        words = ["demo_masks:16", "--val", "demo_masks:8", "--head", "smp:fpn", *SIZE]
        code, _, err = cli("segment", *words, "--out", run)
        assert code == 0, err
        code, _, err = cli("export", run, "--to", "hub", "--out", folder / "hub")
        assert code == 0, err
    return run


def test_a_run_and_what_was_exported_of_it(masks, folder):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, metadata = load(masks)
    two, same = load(str(folder / "hub"))
    assert isinstance(one, Model) and not one.training and not two.training
    assert metadata["backbone"] == same["backbone"] == "test_resnet" and len(metadata["classes"]) == 9
    with torch.no_grad():
        assert one(images).shape == (2, 9, 32, 32)
        assert torch.equal(one(images), two(images))


def test_a_backbone(masks):
    backbone, metadata = load(masks / "backbone.safetensors")
    whole, _ = load(masks)
    assert isinstance(backbone, Backbone) and metadata["image_size"] == 32
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for one, two in zip(backbone(images), whole.backbone(images), strict=True):
            assert torch.equal(one, two)


def test_an_exported_model_is_something_to_start_from(masks, folder, cli, tmp_path):
    """Backbone, its options and the image size come from the file, which also holds a head."""
    out = tmp_path / "run"
    words = ["demo:16", "--val", "demo:16", "--epochs", 1, "--batch-size", 8, "--cpu"]
    code, _, err = cli("classify", *words, "--init", folder / "hub", "--out", out)
    assert code == 0, err
    assert "matched 90 of 90 tensors (prefix 'backbone.')" in err
    assert load(out)[1]["image_size"] == 32
    # the weights came over: a rate of zero leaves what was there
    still = tmp_path / "still"
    code, _, err = cli("classify", *words, "--init", folder / "hub", "--freeze", "--out", still)
    assert code == 0, err
    one, two = load(still)[0].backbone.state_dict(), load(masks)[0].backbone.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(WeightsError):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError):
        load(tmp_path)


def test_weights_of_unknown_make(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="does not name its network"):
        load(tmp_path / "weights.pt")
