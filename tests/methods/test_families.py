"""Methods for convolutional networks on a Swin and a ConvNeXt: other norms, other strides, maps of one cell."""

import pytest
import torch

from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.plugins import load_plugins

REGISTRY = load_plugins().registry
SMALL = {
    "hidden": 32,
    "dimensions": 16,
    "bottleneck": 8,
    "prototypes": 24,
    "queue": 24,
    "directions": 16,
    "cell_dimensions": 8,
    "predictor_hidden": 32,
    "width": 16,
}
METHODS = [name for name in REGISTRY.names("ssl") if REGISTRY.factory("ssl", name).network != "transformer"]
SWIN = [name for name in METHODS if name != "spark"]  # which hides cells from convolutions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "method"),
    [("convnext_atto", name) for name in METHODS] + [("swin_tiny_patch4_window7_224", name) for name in SWIN],
)
def test_a_step_reaches_every_part_of_the_backbone(backbone, method):
    torch.manual_seed(0)
    net = TimmBackbone(backbone)
    factory = REGISTRY.factory("ssl", method)
    known = REGISTRY.resolved("ssl", method)
    made = factory(net, **{key: value for key, value in SMALL.items() if key in known}).train()
    images = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8)
    views = augment(images, made.views, size=64, multiple=net.side_multiple)
    loss = made(views.with_facts(targets=torch.tensor([0, 0, 1, -1])))["loss"]
    loss.backward()
    assert bool(torch.isfinite(loss))
    missed = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missed == []
    made.after_step(0.5)
