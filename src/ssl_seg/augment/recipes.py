"""Recipes of views: what is drawn for each view of an image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class View:
    """How one view of an image is made. Numbers ending in `_p` are probabilities.

    The defaults are the part that both views of BYOL share (Grill et al. 2020, appendix B).
    `turn_p` swaps height and width: with both flips, all eight turns and mirrors of the image.
    `blur_sigma` is in pixels of a 224 px view and scales with the size of the view; `zoom` is the
    side of the view as a share of the run's image size (1 for the usual views, less for the small
    crops of a multi-crop recipe).
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_x_p: float = 0.5
    flip_y_p: float = 0.0
    turn_p: float = 0.0
    jitter_p: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    gray_p: float = 0.2
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_p: float = 0.0
    zoom: float = 1.0

    def side(self, size: int, multiple: int = 1) -> int:
        """Side of the view in pixels.

        Args:
            size: of the run's images.
            multiple: the side of a smaller or larger view is the nearest multiple of it (55 px become 48 for patches
                of 16).
        """
        if self.zoom == 1.0:
            return size
        return multiple * max(1, round(size * self.zoom / multiple))


BYOL_VIEWS = (View(blur_p=1.0), View(blur_p=0.1, solarize_p=0.2))
# SimCLR's colour distortion of strength 0.5, which its paper takes for small images (Chen et al. 2020, appendix B.9),
# with its blur. Strength 1, which it takes for ImageNet, costs a short run on small images much.
SIMCLR_VIEW = View(saturation=0.4, blur_p=0.5)
# MoCo v2's (Chen et al. 2020, arXiv:2003.04297): the same, of larger crops.
MOCO_V2_VIEW = replace(SIMCLR_VIEW, scale=(0.2, 1.0))
# SimMIM and SparK: large crops, no colours changed
MASKED_VIEW = View(scale=(0.67, 1.0), jitter_p=0.0, gray_p=0.0)


def stronger(view: View, factor: float) -> View:
    """The view with its jitter of colours times `factor`; 2 makes SimCLR's strength of 0.5 that for ImageNet, 1."""
    names = ("brightness", "contrast", "saturation", "hue")
    return replace(view, **{name: getattr(view, name) * factor for name in names})


def of_channels(views: Sequence[View], channels: int) -> tuple[list[View], list[str]]:
    """Views for images of so many channels, and what of colours is left out of them where these are not three.

    Returns:
        The recipes without it, and names: `saturation`, `hue`, `grayscale`.
    """
    if channels == 3:
        return list(views), []
    jittered = [view for view in views if view.jitter_p]
    there = {
        "saturation": any(view.saturation for view in jittered),
        "hue": any(view.hue for view in jittered),
        "grayscale": any(view.gray_p for view in views),
    }
    without = [replace(view, saturation=0.0, hue=0.0, gray_p=0.0) for view in views]
    return without, [name for name, is_there in there.items() if is_there]


SMALL_CROP = 96 / 224  # side of a small crop in multi-crop papers, as a share of that of a large one


def multi_crop(
    views: Sequence[View], small: int, zoom: float = 0.5, *, border: float = 0.14
) -> tuple[View, ...]:
    """Add `small` low-resolution views to a recipe (SwAV, Caron et al. 2020).

    Args:
        border: share of an image's area above which crops are large, and below which, down to 0.05, small.
    """
    large = tuple(replace(view, scale=(border, 1.0)) for view in views)
    return large + tuple(replace(views[-1], scale=(0.05, border), zoom=zoom) for _ in range(small))


# One training view for labelled images: crops that keep most of the object, and flips; `strong` adds
# the colour jitter and three rare distortions of DeiT III (Touvron et al. 2022, arXiv:2204.07118).
TRAIN_VIEWS = {
    "light": View(scale=(0.35, 1.0), jitter_p=0.0, gray_p=0.0),
    "strong": View(
        scale=(0.2, 1.0),
        jitter_p=0.8,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        hue=0.0,
        gray_p=0.1,
        blur_p=0.1,
        solarize_p=0.1,
    ),
}
# Pictures from above have no upper side: all eight turns and mirrors, and little colour.
SEGMENTATION_VIEWS = {
    "light": View(jitter_p=0.0, gray_p=0.0),
    "turns": View(flip_y_p=0.5, turn_p=0.5, jitter_p=0.0, gray_p=0.0),
    "strong": View(
        flip_y_p=0.5, turn_p=0.5, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, gray_p=0.0
    ),
}


def segmentation_view(name: str, size: int, sizes: Tensor) -> View:
    """A view for training on masks, whose scale suits images that are measured whole.

    A view of `size` pixels shows a part of the image enlarged by 0.7 to 2. The parts of a usual
    crop would be reduced where `size` is small, and whole images show everything larger than that.

    Args:
        name: of `SEGMENTATION_VIEWS`.
        size: side of the view in pixels.
        sizes: (N, 2) height and width of the images.
    """
    share = size * size / float(sizes.double().prod(dim=1).median())
    return replace(SEGMENTATION_VIEWS[name], scale=(min(0.9, share / 4.0), min(1.0, share * 2.0)))
