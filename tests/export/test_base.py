"""Heads as a matrix, and the comparison that every export passes."""

import pytest
import torch

from ssl_seg.errors import WeightsError
from ssl_seg.exporting.base import as_linear, check_difference, difference
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.linear import Linear
from ssl_seg.heads.mlp import MLP


def test_a_linear_head_is_a_matrix_with_its_norm_folded_in():
    torch.manual_seed(0)
    head = Linear([4, 8], [2, 4], 3, dropout=0.5).eval()
    head.norm.running_mean.normal_()
    head.norm.running_var.uniform_(0.1, 5)
    weight, bias = as_linear(head, 8)
    features = torch.randn(5, 8)
    with torch.no_grad():
        torch.testing.assert_close(features @ weight.T + bias, head([features[:, :, None, None]], (1, 1)))
    assert weight.dtype == bias.dtype == next(head.parameters()).dtype == torch.float32


def test_what_is_no_matrix_is_none():
    assert as_linear(MLP([8], [4], 3, hidden=8).eval(), 8) is None
    assert as_linear(DeepLabV3([8], [4], 3, width=4).eval(), 8) is None


def test_differences_are_shares_of_the_largest_number():
    one = torch.tensor([1.0, -200.0])
    assert difference(one, one) == 0
    assert difference(one + 2, one) == pytest.approx(0.01)
    assert difference(one * 1e-9, one * 2e-9) == pytest.approx(0.5)
    assert difference(one, one[:1]) == float("inf")


@pytest.mark.parametrize("found", [1e-4, float("nan"), float("inf")])
def test_what_differs_too_much_is_not_exported(found):
    assert check_difference(1e-5, 1e-5, "timm") == 1e-5
    with pytest.raises(WeightsError, match=r"outputs in timm differ"):
        check_difference(found, 1e-5, "timm")
