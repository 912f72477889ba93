"""FCN-32s: a classifier's fully connected layers as convolutions (Long et al. 2015, arXiv:1411.4038)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.errors import WeightsError
from ssl_seg.hooks import hookimpl

# fc6 and fc7 in torchvision's files and in timm's
_NAMES = (("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2"))


class FCN32s(Head):
    """FCN-32s: fc6, fc7 and a score layer on the deepest map, then one upsampling to the image size.

    On VGG16 this is FCN-32s; on another pyramid the factor is the deepest map's stride. Where the
    paper pads the image by 100 pixels and crops the result, here the 7x7 convolution pads its map by
    3: cell i of the map scores pixels 32 i to 32 i + 31, for images of any size, and the middle cell
    of a 224 px image sees what VGG's classifier sees. Upsampling repeats the outermost scores, as
    bilinear interpolation does, so logits do not fade within 16 pixels of the border.

    Args:
        channels, strides: of the pyramid.
        classes: how many there are.
        width: channels of fc6 and fc7.
        dropout: probability, after each of the two.
        learn_upsampling: upsample by a transposed convolution, of 64 x 64 weights for each class, that
            starts as bilinear interpolation and is trained. By default, as in the paper, it stays
            bilinear interpolation.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        *,
        width: int = 4096,
        dropout: float = 0.5,
        learn_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.factor = strides[-1]
        self.fc6 = nn.Conv2d(channels[-1], width, 7, padding=3)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(width, classes, 1)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        self.upscore = _transposed(classes, self.factor) if learn_upsampling else None

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes, *size) logits."""
        x = self.dropout(F.relu(_fc6_as_matmul(self.fc6, features[-1]), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        score = self.score(x)
        whole = self._upsample(_replicate_pad(score))[:, :, self.factor :, self.factor :]
        (height, width), (rows, columns) = size, score.shape[2:]
        if (rows + 1) * self.factor >= height and (columns + 1) * self.factor >= width:
            return whole[:, :, :height, :width]
        # a backbone that pads nothing has a map too small for its stride
        whole = whole[:, :, : rows * self.factor, : columns * self.factor]
        return F.interpolate(whole, size=size, mode="bilinear", align_corners=False)

    def load_classifier(self, tensors: Mapping[str, Tensor]) -> bool:
        """Start from the classifier of a trained VGG, if it is there; see the function."""
        return load_classifier(self, tensors)

    def _upsample(self, score: Tensor) -> Tensor:
        if self.upscore is None:
            return F.interpolate(score, scale_factor=self.factor, mode="bilinear", align_corners=False)
        enlarged: Tensor = self.upscore(score)
        return enlarged


def _fc6_as_matmul(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The 7x7 convolution, on the CPU as one matrix product; an exported network has the convolution.

    On maps smaller than the kernel, the CPU's backward pass of the convolution takes a hundred times as long.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        out: Tensor = conv(x)
        return out
    patches = F.unfold(x, 7, padding=3).transpose(1, 2)
    product = F.linear(patches, conv.weight.flatten(1), conv.bias)
    return product.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])


def _transposed(classes: int, factor: int) -> nn.ConvTranspose2d:
    kernel = bilinear_kernel(factor)
    conv = nn.ConvTranspose2d(
        classes, classes, len(kernel), stride=factor, padding=factor // 2, groups=classes, bias=False
    )
    conv.weight.data.copy_(kernel)
    return conv


def bilinear_kernel(factor: int) -> Tensor:
    """The weights that make a transposed convolution interpolate: (k, k), k = 2 factor - factor % 2."""
    size = 2 * factor - factor % 2
    distance = (torch.arange(size) - (size - 1) / 2).abs()
    weight = 1.0 - distance / factor
    return weight[:, None] * weight[None, :]


def _replicate_pad(x: Tensor) -> Tensor:
    """More rows and columns equal to the outermost: one before, two after.

    A map that was rounded down ends within a stride of the image's end, and interpolation looks half
    a stride further.
    """
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:], x[:, :, -1:]], dim=2)
    return torch.cat([x[:, :, :, :1], x, x[:, :, :, -1:], x[:, :, :, -1:]], dim=3)


@torch.no_grad()
def load_classifier(head: FCN32s, tensors: Mapping[str, Tensor]) -> bool:
    """Start fc6 and fc7 from the classifier of a trained VGG, if it is there.

    Args:
        head: gets the weights in place.
        tensors: of a weight file, under torchvision's names (`classifier.0`, `classifier.3`: linear
            layers) or timm's (`pre_logits.fc1`, `pre_logits.fc2`: convolutions).

    Returns:
        Whether it was there. A classifier on something else than 7 x 7 cells of the deepest map is
        not VGG's.

    Raises:
        WeightsError: it is there, and part of it is missing or has another width than the head.
    """
    layers = (head.fc6, head.fc7)
    for names in _NAMES:
        first = tensors.get(f"{names[0]}.weight")
        if first is None or first[0].numel() != head.fc6.weight[0].numel():
            continue
        pairs = [
            (f"{name}.{kind}", getattr(layer, kind))
            for name, layer in zip(names, layers, strict=True)
            for kind in ("weight", "bias")
        ]
        for name, own in pairs:
            tensor = tensors.get(name)
            if tensor is None:
                raise WeightsError(f"incomplete VGG classifier: {name} is missing")
            if tensor.numel() != own.numel() or len(tensor) != len(own):
                raise WeightsError(
                    f"{name} of the VGG classifier is {_shape(tensor)}, the head requires {_shape(own)}",
                    next=f"-o head.width={len(first)}",
                )
        for name, own in pairs:
            own.copy_(tensors[name].reshape(own.shape))
        return True
    return False


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


@hookimpl
def heads() -> dict[str, type[Head]]:
    return {"fcn32s": FCN32s}
