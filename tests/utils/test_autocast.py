"""Losses are float32 where the network computes in bfloat16."""

import importlib
import inspect
import pkgutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ssl_seg.methods
from ssl_seg.base import Model
from ssl_seg.heads.linear import Linear
from ssl_seg.methods.vicregl import Weights
from ssl_seg.nn.tiny_backbone import tiny_backbone
from ssl_seg.plugins import load_plugins
from ssl_seg.tasks import classification
from ssl_seg.tasks.classification import ClassificationTask
from ssl_seg.tasks.segmentation import SegmentationTask
from ssl_seg.testing import TinyBackbone
from ssl_seg.testing.methods import random_views
from ssl_seg.utils.autocast import full_precision, without_autocast

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}
REGISTRY = load_plugins().registry


def losses():
    """Every function of a method's module whose name says that it is a loss, and that of `classify`."""
    modules = [
        importlib.import_module(f"ssl_seg.methods.{each.name}")
        for each in pkgutil.iter_modules(ssl_seg.methods.__path__)
    ]
    found = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and name.endswith(("_loss", "_xent"))
    }
    return found | {"cross_entropy": classification.cross_entropy}


def given(name):
    """What a loss is given: numbers that bfloat16 holds, so that rounding is the loss's own."""
    torch.manual_seed(0)
    one, two = torch.randn(2, 12, 32).bfloat16()
    two = (one + 0.05 * two).bfloat16()  # nearly equal, as at the end of a training
    if name == "dino_loss":
        return torch.stack([one, two, one + two]) * 4, torch.stack([one, two]).softmax(-1)
    several = torch.stack([one, two, one + two])
    return {
        "cross_entropy": (one, torch.arange(12)),
        "nt_xent": (one, two, 0.1),
        "barlow_loss": (one, two, 0.005),
        "fastsiam_loss": (several, several.flip(0)),
        "supcon_loss": (one, two, torch.arange(12) % 4, 0.1),
        "swav_loss": (several, torch.stack([one, two]).softmax(-1), 0.1),
        "image_loss": (several, Weights(25.0, 25.0, 1.0)),
        "cell_loss": (
            several.unflatten(2, (4, 8)),
            several[..., :8].unflatten(2, (4, 2)),
            (3, 2),
            Weights(25.0, 25.0, 1.0),
        ),
        "feature_loss": (one[..., None, None], two[..., None, None], "cosine"),
        "mae_loss": (several, several.flip(0), several[..., 0] > 0),
        "simmim_loss": (several, several.flip(0), several[..., 0] > 0),
        "reconstruction_loss": (several, several.flip(0), several[..., 0] > 0),
        "visreg_loss": (several, F.normalize(torch.randn(32, 8), dim=0).bfloat16()),
    }.get(name, (one, two))


OPTIONS = {
    "vicreg_loss": {"invariance": 25.0, "variance": 25.0, "covariance": 1.0},
    "visreg_loss": {"large": 2, "balance": 0.6},
}


def loss_of(name, values):
    out = losses()[name](*values, **OPTIONS.get(name, {}))
    return out["loss"] if isinstance(out, dict) else out


@pytest.mark.parametrize("name", losses())
def test_a_loss_is_as_exact_inside_autocast_as_in_float64(name):
    values = given(name)
    with torch.autocast(**BF16):
        found = loss_of(name, values)
    double = [v.double() if torch.is_tensor(v) and v.is_floating_point() else v for v in values]
    expected = loss_of(name, double)
    assert (found.dtype, expected.dtype) == (torch.float32, torch.float64)
    assert found.item() == pytest.approx(expected.item(), rel=2e-6, abs=2e-6)


def test_the_losses_are_all_there():
    assert losses().keys() >= {"byol_loss", "simsiam_loss", "nt_xent", "dino_loss", "cross_entropy"}


@pytest.mark.parametrize("name", REGISTRY.names("ssl"))
def test_the_loss_of_every_method_is_float32(name):
    method = REGISTRY.build("ssl", name, tiny_backbone(REGISTRY.factory("ssl", name)))
    with torch.autocast(**BF16):
        assert method(random_views(method, 0))["loss"].dtype == torch.float32


class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(16, 3, 1)

    def forward(self, features, size):
        return nn.functional.interpolate(self.layer(features[-1]), size)


@pytest.mark.parametrize("loss", ["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"])
def test_the_loss_of_masks_is_float32(loss):
    module = SegmentationTask(Model(TinyBackbone(), Pixels()), loss=loss)
    with torch.autocast(**BF16):
        found = module([torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 16, 16))])["loss"]
    assert found.dtype == torch.float32


def test_the_loss_of_classes_is_float32():
    module = ClassificationTask(Model(TinyBackbone(), Linear((8, 16), (2, 4), 3)))
    with torch.autocast(**BF16):
        found = module([torch.randn(2, 3, 16, 16), torch.tensor([0, 2])])["loss"]
    assert found.dtype == torch.float32


def test_a_decorated_function_keeps_its_name_and_what_is_no_number_of_half_precision():
    @full_precision
    def seen(rows, places, *, scale=1.0):
        """Theirs."""
        return rows.dtype, places.dtype, scale, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert (seen.__name__, seen.__doc__) == ("seen", "Theirs.")
    with torch.autocast(**BF16):
        found = seen(torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.int32), scale=2.0)
        assert without_autocast(lambda rows: rows.dtype)(torch.ones(1).bfloat16()) == torch.bfloat16
    assert found == (torch.float32, torch.int32, 2.0, torch.float32)


def test_torch_compile_takes_a_loss_in_full_precision():
    from ssl_seg.methods.byol import byol_loss

    points = torch.randn(2, 8, 4)
    compiled = torch.compile(lambda one, two: byol_loss(one, two), backend="eager")
    torch.testing.assert_close(compiled(*points), byol_loss(*points))
