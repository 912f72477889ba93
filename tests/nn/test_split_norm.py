import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from ssl_seg.nn.split_norm import parts_of, split_norm, swap_blocks

NORMS = [nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False), BatchNormAct2d(3)]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_each_part_is_normalised_by_itself(norm):
    plain, split = copy.deepcopy(norm).train(), copy.deepcopy(norm).train()
    split_norm(split, 2)
    shape = (8, 3) if isinstance(norm, nn.BatchNorm1d) else (8, 3, 5, 4)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images[4:] += 3.0
    one, two = copy.deepcopy(plain), copy.deepcopy(plain)
    expected = torch.cat([one(images[:4]), two(images[4:])])
    torch.testing.assert_close(split(images), expected)
    assert not torch.allclose(expected, plain(images), atol=0.1), (
        "the parts must differ for this test to tell"
    )
    torch.testing.assert_close(split.running_mean, (one.running_mean + two.running_mean) / 2)
    torch.testing.assert_close(split.running_var, (one.running_var + two.running_var) / 2)
    assert split.num_batches_tracked == 1
    split.eval()
    plain.load_state_dict(split.state_dict())
    torch.testing.assert_close(split(images), plain.eval()(images))


def test_a_batch_that_cannot_be_cut_is_normalised_whole():
    plain = nn.BatchNorm1d(3).train()
    split = copy.deepcopy(plain)
    split_norm(split, 8)
    images = torch.randn(7, 3)
    torch.testing.assert_close(split(images), plain(images))


@pytest.mark.parametrize(
    ("count", "parts", "expected"), [(64, 8, 8), (32, 8, 4), (18, 4, 3), (7, 4, 1), (8, 2, 2)]
)
def test_parts(count, parts, expected):
    assert parts_of(count, parts) == expected


def test_swapped_parts_hold_as_many_rows_of_each_part():
    rows = torch.arange(32)
    swapped = swap_blocks(rows, 4)
    for part in swapped.chunk(4):
        assert torch.equal((part // 8).bincount(minlength=4), torch.full((4,), 2))
    assert torch.equal(swap_blocks(swapped, 4), rows)


def test_the_gradient_is_that_of_the_parts():
    split = nn.BatchNorm2d(2).double().train()
    split_norm(split, 2)
    images = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(split, images)
