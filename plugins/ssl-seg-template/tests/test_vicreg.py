import torch
from ssl_seg_template import VICReg, covariance, variance

from ssl_seg.testing import check_method


def test_it_keeps_the_contract():
    check_method(VICReg)


def test_the_parts_by_hand():
    points = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])  # deviations 2 and 0
    assert variance(points).item() == torch.tensor(0.99 / 2).item()
    both = torch.tensor([[0.0, 0.0], [2.0, 2.0]])  # all covariances are 2
    assert covariance(both).item() == 4.0
