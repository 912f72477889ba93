"""Colour and blur for a batch, with one parameter per image and torchvision's semantics.

Images are (B, 3, H, W) float32 in [0, 1], of brightness, contrast, solarizing and blur (B, C, H, W); a factor is
a (B,) tensor. Each function equals the one
of the same name in `torchvision.transforms.v2.functional` called with that image's own number.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)


def _per_image(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, images, _per_image(factor)).clamp_(0.0, 1.0)


def has_colours(images: Tensor) -> bool:
    """Whether the channels are red, green and blue: hue, saturation and luma are of them alone."""
    return images.shape[1] == 3


def luma(images: Tensor) -> Tensor:
    """The (B, 1, H, W) brightness of each pixel (ITU-R 601)."""
    red, green, blue = images.unbind(dim=1)
    return (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2])[:, None]


def grayscale(images: Tensor) -> Tensor:
    """Every channel becomes the luma."""
    return luma(images).expand_as(images)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` >= 0 (1 leaves the image alone)."""
    return (images * _per_image(factor)).clamp_(0.0, 1.0)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the image's mean luma by `factor` >= 0; each of other channels than three from its own mean."""
    grey = luma(images) if has_colours(images) else images
    rows = grey.mean(dim=3, keepdim=True)  # then columns: over both at once, torch adds in an
    mean = rows.mean(dim=2, keepdim=True)  # order that depends on the batch and the number of threads
    return _blend(images, mean, factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the pixel's own luma by `factor` >= 0."""
    return _blend(images, luma(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of the colour circle, in [-0.5, 0.5].

    Value and chroma stay, so the HSV round trip collapses to one formula per channel.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    safe = chroma + (chroma == 0)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hue = hue + 6.0 * shift.view(-1, 1, 1)
    offsets = torch.arange(5, 0, -2, device=images.device, dtype=images.dtype).view(-1, 1, 1)
    k = torch.remainder(hue[:, None] + offsets, 6.0)
    k = torch.minimum(k, 4.0 - k).clamp_(0.0, 1.0)
    return value[:, None] - chroma[:, None] * k


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert the pixels at or above `threshold`."""
    return torch.where(images >= threshold, 1.0 - images, images)


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with its own sigma: two matrix products, borders reflected.

    Args:
        images: (B, C, H, W).
        sigma: (B,) in pixels, > 0.
        radius: the kernel has 2 * radius + 1 taps; smaller than H and W.
    """
    height, width = images.shape[-2:]
    wy = _blur_weights(sigma, radius, height)
    wx = wy if height == width else _blur_weights(sigma, radius, width)
    return torch.matmul(wy[:, None], torch.matmul(images, wx[:, None].transpose(2, 3)))


def blur_radius(side: int) -> int:
    """The radius of the kernel for images of a side: it is a tenth of the image wide."""
    return min(max(1, side // 20), side - 1)


def _blur_weights(sigma: Tensor, radius: int, size: int) -> Tensor:
    """(B, size, size) rows of a Gaussian whose tails beyond the border are folded back in."""
    position = torch.arange(size, device=sigma.device)
    scale = -0.5 / (sigma.double() ** 2).view(-1, 1, 1)

    def taps(offset: Tensor) -> Tensor:
        near = (offset.abs() <= radius).double()
        return torch.exp(offset.double() ** 2 * scale) * near

    out, source = position[:, None], position[None, :]
    direct = taps(source - out)
    before = taps(-source - out) * (source > 0)
    after = taps(2 * (size - 1) - source - out) * (source < size - 1)
    kernel = torch.arange(-radius, radius + 1, device=sigma.device)
    weight_sum = taps(kernel.view(1, -1)).sum(dim=2, keepdim=True)
    return ((direct + before + after) / weight_sum).float()


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract `mean` and divide by `std`, one number per channel."""
    center, spread = (per_channel(numbers, images.device, images.dtype) for numbers in (mean, std))
    return (images - center) / spread


def per_channel(numbers: Sequence[float], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """(C, 1, 1) numbers, which stay on the device: to move them for every batch would stall a GPU."""
    return _constant(tuple(numbers), device, dtype)


@lru_cache(maxsize=32)
def _constant(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device, dtype=dtype).view(-1, 1, 1)
