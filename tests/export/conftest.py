"""Networks with weights that nobody would find by chance."""

import pytest
import torch
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.exporting.base import ExportModel

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def stir(module):
    """Move every weight and every running statistic away from where they start."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.copy_(0.1 * torch.randn(part.running_mean.shape, generator=generator))
                part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))
        for parameter in module.parameters():
            parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture
def source():
    """`source("resnet18", head=Linear, classes=3, output_stride=8)`."""

    def make(name, *, head=None, classes=0, size=64, metadata=None, **options):
        torch.manual_seed(1)
        backbone = stir(TimmBackbone(name, **options))
        names = [f"class {index}" for index in range(classes)]
        built = stir(head(backbone.channels, backbone.strides, classes)) if head else None
        fields = {"image_size": size, "mean": MEAN, "std": STD, "classes": names}
        return ExportModel(
            backbone, built, metadata={"backbone": name, "options": options, **(metadata or {})}, **fields
        )

    return make
