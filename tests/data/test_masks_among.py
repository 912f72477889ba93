import pytest

from ssl_seg.data.masks_among import masks_among

VOC = ["SegmentationClass/1.png", "SegmentationObject/1.png"]
CITYSCAPES = [f"gtFine/train/bonn/b_0_gtFine_{kind}.png" for kind in ("color", "labelIds", "instanceIds")]


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["1_sat.jpg", "1_mask.png", "2_sat.jpg", "2_mask.png"], ["1_mask.png", "2_mask.png"]),
        (["a.jpg", "a_mask.png", "b.jpg"], ["a_mask.png"]),
        (["a.jpg", "a-label.png", "mask_a.png"], ["a-label.png", "mask_a.png"]),
        (["images/a.jpg", "masks/a.png"], ["masks/a.png"]),
        (["train/images/a.jpg", "train/Labels/a_mask.png"], ["train/Labels/a_mask.png"]),
        (["x/1_sat.jpg", "y/1_mask.png"], []),
        (["1_mask.png", "2_mask.png"], []),  # masks alone: somebody wants them
        (["masks/a.png", "masks/b.png"], []),
        (["mask.jpg", "unmask.jpg", "masked_ball.jpg", "label.jpg"], []),
        (["rose_1.jpg", "rose_2.jpg", "gt.jpg", "seg.jpg"], []),
        (["carnival/mask_1.jpg", "carnival/mask_2.jpg"], []),
        (["labels/rose/1.jpg", "images/rose/1.jpg"], []),
        (["JPEGImages/1.jpg", "SegmentationClass/1.png", "SegmentationObject/1.png"], VOC),
        (["leftImg8bit/train/bonn/b_0_leftImg8bit.png", *CITYSCAPES], CITYSCAPES),
    ],
)
def test_masks_are_known_by_their_images(names, masks):
    assert masks_among(names) == masks
