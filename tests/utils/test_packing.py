"""Tensors of many kinds in one block."""

import torch

from ssl_seg.utils.packing import Packed, moved_together

CPU = torch.device("cpu")


def tensors():
    return [
        torch.tensor([True, False, True]),
        torch.randn(3, 5, dtype=torch.float64),
        torch.randint(0, 255, (7,), dtype=torch.uint8),
        torch.zeros(0, 4),
        torch.arange(6).view(2, 3).T,
        torch.tensor(2.5),
    ]


def test_what_is_packed_comes_out_as_it_went_in():
    wanted = tensors()
    for found in (Packed(wanted, CPU).moved(), moved_together(wanted, CPU)):
        for one, two in zip(found, wanted, strict=True):
            assert one.dtype == two.dtype and torch.equal(one, two)
    assert len({part.untyped_storage().data_ptr() for part in Packed(wanted, CPU).moved()}) == 1


def test_on_a_device_shapes_and_types_are_the_same():
    for one, two in zip(moved_together(tensors(), torch.device("meta")), tensors(), strict=True):
        assert (one.device.type, one.dtype, one.shape) == ("meta", two.dtype, two.shape)
