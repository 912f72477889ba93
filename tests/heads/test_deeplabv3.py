"""DeepLabv3 against torchvision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from ssl_seg.base import Model
from ssl_seg.errors import UsageError
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.testing import TinyBackbone, check_head
from ssl_seg.utils.options import check_options

CLASSES = 5


def lively(module):
    """Norms that differ from their start, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.ndim == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


@pytest.mark.parametrize("rates", [(12, 24, 36), (1, 2, 3)])
@pytest.mark.parametrize("training", [False, True])
def test_the_same_as_torchvisions_head(rates, training):
    torch.manual_seed(0)
    theirs = lively(DeepLabHead(12, CLASSES, rates)).train(training)
    ours = DeepLabV3([12], [8], CLASSES, rates=rates).train(training)
    ours.classifier.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 12, 9, 7)
    torch.manual_seed(1)  # of the dropout
    expected = F.interpolate(theirs(x), size=(70, 53), mode="bilinear", align_corners=False)
    torch.manual_seed(1)
    torch.testing.assert_close(ours([x], (70, 53)), expected, atol=1e-5, rtol=1e-5)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.classifier.state_dict()[name], tensor)


@pytest.mark.parametrize(("stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_the_rates_follow_the_stride(stride, rates):
    convs = DeepLabV3([12], [stride], CLASSES, width=8).classifier[0].convs
    assert tuple(branch[0].dilation[0] for branch in convs[1:-1]) == rates
    other = DeepLabV3([12], [stride], CLASSES, width=8, rates=(2, 5)).classifier[0].convs
    assert tuple(branch[0].dilation[0] for branch in other[1:-1]) == (2, 5)


@pytest.mark.parametrize("size", [(33, 33), (47, 64), (64, 97), (97, 65), (101, 101), (129, 40), (65, 159)])
def test_logits_have_the_images_size(size):
    model = Model(TinyBackbone(), DeepLabV3([8, 16], [2, 4], CLASSES, width=8)).eval()
    assert model(torch.randn(1, 3, *size)).shape == (1, CLASSES, *size)


def test_a_batch_of_one_image_trains():
    torch.manual_seed(0)
    head = DeepLabV3([12], [8], CLASSES, width=8, dropout=0.0)
    pooling = head.classifier[0].convs[-1]
    pooling[2].running_mean.fill_(-0.5)
    pooling[2].running_var.fill_(4.0)
    x = torch.randn(1, 12, 6, 6)
    before = {name: tensor.clone() for name, tensor in pooling.state_dict().items()}
    head([x], (48, 48)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
    assert pooling[1].weight.grad.any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in pooling.state_dict().items())
    assert head.classifier[2].num_batches_tracked != before["2.num_batches_tracked"]  # the others learn
    assert torch.equal(pooling(x), pooling.eval()(x))


def test_the_auxiliary_head_is_torchvisions_on_the_map_before():
    theirs = lively(FCNHead(8, CLASSES)).eval()
    head = DeepLabV3([8, 12], [4, 8], CLASSES, width=8, aux=True).eval()
    head.aux_classifier.load_state_dict(theirs.state_dict(), strict=True)
    maps = [torch.randn(2, 8, 9, 9), torch.randn(2, 12, 5, 5)]
    expected = F.interpolate(theirs(maps[0]), size=(33, 34), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head.auxiliary(maps, (33, 34)), expected, atol=1e-5, rtol=1e-5)
    plain = DeepLabV3([8, 12], [4, 8], CLASSES, width=8).eval()
    plain.load_state_dict({k: t for k, t in head.state_dict().items() if not k.startswith("aux_")})
    assert torch.equal(plain(maps, (33, 34)), head(maps, (33, 34)))
    assert plain.auxiliary(maps, (33, 34)) is None


def test_an_auxiliary_head_needs_a_second_map():
    with pytest.raises(UsageError, match="aux=true requires a second feature map"):
        DeepLabV3([12], [8], CLASSES, aux=True)


def test_the_contract_and_options():
    check_head(DeepLabV3)
    options = check_options(DeepLabV3, "head deeplabv3", {"rates": "2,5", "aux": "true"})
    assert options == {"rates": (2, 5), "aux": True}
    head = DeepLabV3([12], [8], CLASSES, width=8, dropout=0.25)
    assert [part.p for part in head.modules() if isinstance(part, nn.Dropout)] == [0.25]
    assert head.classifier[4].in_channels == 8
