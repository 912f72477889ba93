"""Views for training on labels; those for training without are beside their methods."""

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
# Pictures from above have no upper side: all eight turns and mirrors, a zoom, and little colour.
MASK_VIEWS = {
    "light": View(scale=(0.25, 1.0), jitter_p=0.0, gray_p=0.0),
    "strong": View(
        scale=(0.25, 1.0),
        flip_y_p=0.5,
        turn_p=0.5,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        hue=0.05,
        gray_p=0.0,
    ),
}
