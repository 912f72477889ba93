import pytest
import torch

from ssl_seg.augment.views import eval_view
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import demo
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.testing import TinyBackbone


@pytest.fixture
def image_cache(tmp_path):
    return open_image_cache(demo("30", ""), 48, tmp_path / "stores")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    module = TinyBackbone()
    module(2.0 * torch.randn(16, 3, 32, 32) + 1.0)  # running statistics that differ from their start
    return module


def run(backbone, image_cache, **options):
    return extract_features(backbone, image_cache, Device("fp32", cpu=True), size=32, **options)


def test_features_are_the_pooled_deepest_map_in_the_stores_order(backbone, image_cache):
    features, targets = run(backbone, image_cache)
    assert features.shape == (30, 16) and features.dtype == torch.float32
    assert torch.equal(targets, image_cache.targets)
    backbone.eval()
    with torch.no_grad():
        expected = [
            backbone(eval_view(image_cache.images[row][None], image_cache.sizes[row][None], size=32))[
                -1
            ].mean((2, 3))
            for row in range(30)
        ]
    torch.testing.assert_close(features, torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert not features.requires_grad


@pytest.mark.parametrize("batch_size", [1, 7, 29, 30])
def test_the_batch_size_does_not_matter(backbone, image_cache, batch_size):
    whole, _ = run(backbone, image_cache)
    torch.testing.assert_close(
        run(backbone, image_cache, batch_size=batch_size)[0], whole, atol=1e-5, rtol=1e-5
    )


def test_modes_and_running_statistics_stay(backbone, image_cache):
    backbone.train()
    backbone.one.eval()  # a part that is frozen
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    run(backbone, image_cache)
    assert backbone.training and backbone.two.training and backbone.two[1].training
    assert not backbone.one.training and not backbone.one[1].training
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_modes_come_back_after_an_error(backbone, image_cache):
    def broken(images):
        raise RuntimeError("broken")

    backbone.train()
    backbone.forward = broken
    with pytest.raises(RuntimeError, match="broken"):
        run(backbone, image_cache)
    assert all(part.training for part in backbone.modules())


def test_no_global_random_number_is_used(backbone, image_cache):
    state = torch.get_rng_state()
    first, _ = run(backbone, image_cache)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(first, run(backbone, image_cache)[0])


def test_a_stop_gives_the_rows_there_are(backbone, image_cache):
    answers = iter([False, True])
    features, targets = run(backbone, image_cache, batch_size=10, stopped=lambda: next(answers))
    assert len(features) == len(targets) == 20
    assert torch.equal(targets, image_cache.targets[:20])


def test_a_stop_before_the_first_batch_is_no_error(backbone, image_cache):
    features, targets = run(backbone, image_cache, batch_size=10, stopped=lambda: True)
    assert len(features) == len(targets) < 30
