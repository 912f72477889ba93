"""How decoders are fed with pyramids of any size and kind."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_seg.errors import UsageError
from ssl_seg.nn.pyramid_adapter import DecoderHead, PyramidLevel, power_of_two_levels

CHANNELS = [3, 4, 5]


class Echo(nn.Module):
    """Keeps what it is given, and gives the first map enlarged."""

    def forward(self, maps, *more):
        self.maps, self.more = maps, more
        return F.interpolate(maps[1], scale_factor=4)


def head(strides=(4, 8, 16), **options):
    levels = [
        PyramidLevel(1),
        *(PyramidLevel(s, i, c) for i, (s, c) in enumerate(zip(strides, CHANNELS, strict=True))),
    ]
    return DecoderHead(levels, Echo(), nn.Identity(), **options)


def maps(size, strides, down):
    return [
        torch.randn(2, c, *(down(side, s) for side in size)) for c, s in zip(CHANNELS, strides, strict=True)
    ]


def ceil(side, stride):
    return -(-side // stride)


def floor(side, stride):
    return side // stride


@pytest.mark.parametrize("down", [ceil, floor])
@pytest.mark.parametrize("size", [(64, 48), (65, 47), (97, 31), (16, 113)])
def test_maps_are_continued_by_their_last_row_and_column(size, down):
    made, given = head(), maps(size, (4, 8, 16), down)
    found = made(given, size)
    assert found.shape == (2, 3, *size)
    height, width = (-(-side // 16) * 16 for side in size)
    assert made.decoder.maps[0].shape == (2, 0, height, width)
    for seen, x, stride in zip(made.decoder.maps[1:], given, (4, 8, 16), strict=True):
        margin = [(0, 0), (0, 0), (0, height // stride - x.shape[2]), (0, width // stride - x.shape[3])]
        assert np.array_equal(seen.numpy(), np.pad(x.numpy(), margin, mode="edge"))
    assert torch.equal(found, F.interpolate(made.decoder.maps[1], scale_factor=4)[..., : size[0], : size[1]])


def test_a_size_that_fits_costs_no_copy():
    made, given = head(), maps((64, 48), (4, 8, 16), floor)
    made(given, (64, 48))
    assert all(seen is x for seen, x in zip(made.decoder.maps[1:], given, strict=True))


def test_maps_that_are_larger_are_cut_and_smaller_ones_stretched():
    made, given = head(), maps((64, 64), (4, 8, 16), floor)
    given[0] = torch.randn(2, 3, 17, 16)
    given[1] = torch.randn(2, 4, 8, 7)
    made(given, (64, 64))
    assert torch.equal(made.decoder.maps[1], given[0][:, :, :16])
    stretched = F.interpolate(given[1], size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(made.decoder.maps[2], stretched)


def test_least_sizes_and_further_arguments():
    made = head(min_size=8, extra_inputs=(7,))
    assert made(maps((40, 130), (4, 8, 16), ceil), (40, 130)).shape == (2, 3, 40, 130)
    assert made.decoder.maps[3].shape[2:] == (8, 9) and made.decoder.more == (7,)
    made = head(size_divisor=64)
    made(maps((40, 130), (4, 8, 16), ceil), (40, 130))
    assert made.decoder.maps[3].shape[2:] == (4, 12)


def test_a_pooled_level():
    levels = [PyramidLevel(1), PyramidLevel(4, 0, 3), PyramidLevel(32, 2, 5, downsampled=True)]
    made, given = DecoderHead(levels, Echo(), nn.Identity()), maps((80, 64), (4, 8, 16), ceil)
    made(given, (80, 64))
    downsampled = F.max_pool2d(F.pad(given[2], (0, 0, 0, 1), mode="replicate"), 2)
    assert torch.equal(made.decoder.maps[2], downsampled)


# --- which maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ([2, 4, 8, 16, 32], [(1, None), (2, 0), (4, 1), (8, 2), (16, 3), (32, 4)]),
        ([1, 2, 4, 8, 16, 32], [(1, None), (2, 1), (4, 2), (8, 3), (16, 4), (32, 5)]),
        ([4, 8, 16, 32], [(1, None), (2, None), (4, 0), (8, 1), (16, 2), (32, 3)]),
        ([4, 8, 16], [(1, None), (2, None), (4, 0), (8, 1), (16, 2)]),
        ([2, 4, 8], [(1, None), (2, 0), (4, 1), (8, 2)]),
    ],
)
def test_the_levels_of_a_pyramid(strides, expected):
    channels = [10 * (1 + index) for index in range(len(strides))]
    levels = power_of_two_levels("x", channels, strides)
    assert [(level.stride, level.map_index) for level in levels] == expected
    assert [level.channels for level in levels[1:]] == [
        0 if index is None else channels[index] for _, index in expected[1:]
    ]


@pytest.mark.parametrize(
    "strides",
    [[16] * 4, [14] * 4, [8, 16, 32], [2, 8, 16], [2, 4], [2, 4, 8, 16, 32, 64], [32], [1, 1, 2, 4]],
)
@pytest.mark.parametrize("dilated", [False, True])
def test_other_pyramids_are_refused_by_their_strides(strides, dilated):
    with pytest.raises(
        UsageError, match=f"head smp:x requires .* backbone strides: {', '.join(map(str, strides))}$"
    ):
        power_of_two_levels("smp:x", [8] * len(strides), strides, dilated=dilated)


def test_repeated_strides_only_where_they_are_wanted():
    strides = [2, 4, 8, 8, 8]
    assert [level.stride for level in power_of_two_levels("x", strides, strides, dilated=True)[1:]] == strides
    with pytest.raises(UsageError, match="strides: 2, 4, 8, 8, 8"):
        power_of_two_levels("x", strides, strides)
