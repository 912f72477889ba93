"""Views for training on labels; those for training without are beside their methods."""

from dataclasses import replace

from torch import Tensor

from ssl_seg.augment.views import View

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
MASK_VIEWS = {
    "light": View(jitter_p=0.0, gray_p=0.0),
    "turns": View(flip_y_p=0.5, turn_p=0.5, jitter_p=0.0, gray_p=0.0),
    "strong": View(
        flip_y_p=0.5, turn_p=0.5, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, gray_p=0.0
    ),
}


def mask_view(name: str, size: int, sizes: Tensor) -> View:
    """A view for training on masks, whose scale suits images that are measured whole.

    A view of `size` pixels shows a part of the image enlarged by 0.7 to 2. The parts of a usual
    crop would be reduced where `size` is small, and whole images show everything larger than that.

    Args:
        name: of `MASK_VIEWS`.
        size: side of the view in pixels.
        sizes: (N, 2) height and width of the images.
    """
    share = size * size / float(sizes.double().prod(dim=1).median())
    return replace(MASK_VIEWS[name], scale=(min(0.9, share / 4.0), min(1.0, share * 2.0)))
