import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.augment.photometry import normalize
from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
from ssl_seg.errors import ResourceError
from ssl_seg.figures.views import draw_views

GAP = 4


def drawn(path, images, views, **options):
    draw_views(path, images, views, **options)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG" and sheet.mode == "RGB"
        return np.asarray(sheet)


def cell(sheet, row, column, side, columns=1):
    """A picture; what is left of the columns is for the names of the rows."""
    left = sheet.shape[1] - columns * (side + GAP)
    y, x = row * (side + GAP) + GAP, column * (side + GAP) + left
    return sheet[y : y + side, x : x + side]


def pictures(count, side):
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(side))


def test_canvases_lie_on_top_and_views_below_in_their_own_colours(tmp_path):
    images = pictures(3, 16).to(torch.uint8)
    true = [pictures(3, 16), pictures(3, 8)]
    views = [normalize(view / 255, IMAGENET_MEAN, IMAGENET_STD) for view in true]
    sheet = drawn(tmp_path / "views.png", images, views)
    assert len(sheet) == 3 * 20 + 4
    small = true[1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    for row, expected in enumerate((images, true[0], small)):
        for column in range(3):
            want = expected[column].permute(1, 2, 0).numpy()
            assert np.abs(cell(sheet, row, column, 16, 3) - want.astype(float)).max() <= 1
    assert (sheet[: GAP - 1] == 255).all() and (sheet[:, 1 - GAP :] == 255).all()


def margin(sheet, row, side, columns=1):
    """The pixels left of a row's pictures, as dark or not."""
    left = sheet.shape[1] - columns * (side + GAP) - 1
    return sheet[row * (side + GAP) + GAP :][:side, :left, 0] < 128


def test_rows_have_names(tmp_path):
    views = [torch.zeros(1, 3, 24, 24)] * 2
    images = pictures(1, 24).to(torch.uint8)
    plain = drawn(tmp_path / "views.png", images, views)
    image, first, second = (margin(plain, row, 24) for row in range(3))
    assert image.any() and first.any() and not np.array_equal(first, second), "view 1 is not view 2"
    named = drawn(tmp_path / "named.png", images, views, names=["image", "view", "a much longer name"])
    assert named.shape[1] > plain.shape[1]
    assert not margin(named, 2, 24)[:, :2].any(), "a name is cut off"


def test_a_white_view_can_be_told_from_the_paper(tmp_path):
    sheet = drawn(tmp_path / "v.png", pictures(1, 16).to(torch.uint8), [torch.full((1, 3, 16, 16), 9.0)])
    assert (cell(sheet, 1, 0, 16) == 255).all()
    assert (sheet[-GAP, -GAP - 16 : -GAP] == 200).all() and (sheet[-GAP - 16 : -GAP, -GAP] == 200).all()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResourceError, match="cannot write"):
        drawn(tmp_path / "file" / "views.png", pictures(1, 8).to(torch.uint8), [torch.zeros(1, 3, 8, 8)])


def test_the_views_that_are_drawn_are_left_as_they_were(tmp_path):
    view = torch.randn(2, 3, 8, 8)
    before = view.clone()
    drawn(tmp_path / "views.png", pictures(2, 8).to(torch.uint8), [view])
    assert torch.equal(view, before)


def test_a_normalisation_of_one_s_own(tmp_path):
    view = torch.zeros(1, 3, 8, 8)
    sheet = drawn(
        tmp_path / "views.png",
        pictures(1, 8).to(torch.uint8),
        [view],
        mean=(0.2, 0.4, 0.6),
        std=(1.0, 1.0, 1.0),
    )
    assert (cell(sheet, 1, 0, 8) == (51, 102, 153)).all()


def test_half_precision_and_channels_last(tmp_path):
    view = torch.full((1, 3, 8, 8), 3.0).to(torch.bfloat16).to(memory_format=torch.channels_last)
    sheet = drawn(tmp_path / "views.png", pictures(1, 16).to(torch.uint8), [view])
    assert (cell(sheet, 1, 0, 8) == 255).all()
