"""Whether confidences are what they claim to be: expected calibration error, and temperature scaling.

Guo et al., On Calibration of Modern Neural Networks, 2017 (arXiv:1706.04599).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssl_seg.augment import stateless_rng
from ssl_seg.base import IGNORE_INDEX
from ssl_seg.distributed.collectives import all_reduce_sum

BINS = 15  # as in the paper
TEMPERATURES = 0.05, 20.0  # the range that is searched, and accepted from a file
_LEAST = 10  # samples to fit a temperature on
_LEAST_PIXELS, _MOST_PIXELS = 16, 1024  # of an image
_VALUES = 1 << 22  # logits that are kept, as long as every image has the least number of pixels


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = BINS) -> float:
    """The mean difference between confidence and accuracy, over bins of equal width, weighted by their samples.

    Args:
        probabilities: (N, C). The confidence of a sample is its largest one.
        targets: (N,) int64 class indices.
        bins: of the confidences between 0 and 1.

    Returns:
        A number from 0 to 1; NaN without a sample.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    gap = confidence - (predicted == targets).double()
    indices = (confidence * bins).long().clamp(max=bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64, device=gap.device).index_add(0, indices, gap)
    return float(sums.abs().sum() / len(targets)) if len(targets) else math.nan


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T in `TEMPERATURES` with the smallest cross entropy of logits / T.

    It is 1 where the samples do not determine it: there are fewer than ten, or all are right, so that the loss falls
    until T is 0.

    Args:
        logits: (N, C); minus infinity for a class that is never predicted.
        targets: (N,) int64 class indices.
    """
    logits = logits.double()
    if len(targets) < _LEAST or bool((logits.argmax(dim=1) == targets).all()):
        return 1.0
    bounds = [math.log(bound) for bound in TEMPERATURES]
    # convex in 1 / T, so that there is one minimum, and log T has it too
    found = minimize_scalar(
        lambda x: float(cross_entropy(logits / math.exp(x), targets)), bounds=bounds, method="bounded"
    )
    return math.exp(float(found.x))


def calibrate(logits: Tensor, targets: Tensor, for_fit: Tensor) -> dict[str, Any]:
    """Fit a temperature on some samples and report the error on the others.

    Args:
        logits, targets: see `fit_temperature`.
        for_fit: (N,) bool, the samples to fit on; none of them is in what is reported.

    Returns:
        `temperature`; `ece` and `nll` (the cross entropy) of the other samples, each also as `..._scaled` with the
        temperature; and how many samples were `fitted_on` and `measured_on`. Empty without others.
    """
    rest, truth = logits[~for_fit].double(), targets[~for_fit]
    if not len(truth):
        return {}
    temperature = fit_temperature(logits[for_fit], targets[for_fit])
    result: dict[str, Any] = {"temperature": temperature}
    for end, scaled in (("", rest), ("_scaled", rest / temperature)):
        result[f"ece{end}"] = expected_calibration_error(scaled.softmax(dim=1), truth)
        result[f"nll{end}"] = float(cross_entropy(scaled, truth))
    return {**result, "fitted_on": int(for_fit.sum()), "measured_on": len(truth)}


class SampledPixels:
    """Logits of random labelled pixels, the same of every image and in every run, for `calibrate`.

    Args:
        count: images. classes: of the logits.
        excluded: classes whose pixels do not count.
    """

    def __init__(self, count: int, classes: int, excluded: Sequence[int], device: torch.device) -> None:
        per_image = min(_MOST_PIXELS, max(_LEAST_PIXELS, _VALUES // (count * classes)))
        self._logits = torch.zeros(count, per_image, classes, device=device)
        self._targets = torch.zeros(count, per_image, dtype=torch.int64, device=device)  # 0: none; class + 1
        self._excluded = torch.tensor([*excluded, IGNORE_INDEX], device=device)

    def add(self, logits: Tensor, targets: Tensor, indices: Tensor) -> None:
        """Draw from a batch of images.

        Args:
            logits: (B, C, h, w). targets: (B, h, w).
            indices: (B,) of the images, below `count`.
        """
        draws = stateless_rng.uniform(0, 0, 0, indices.to(logits.device), self._targets.shape[1]).T
        for draw, values, target, index in zip(draws, logits, targets, indices.tolist(), strict=True):
            labelled = (~torch.isin(target, self._excluded)).flatten().nonzero()[:, 0]
            if len(labelled):
                pixels = labelled[(draw * len(labelled)).long().clamp(max=len(labelled) - 1)]
                self._logits[index] = values.flatten(1)[:, pixels].T
                self._targets[index] = target.flatten()[pixels] + 1

    def gather(self) -> None:
        """Put the images of all processes together; each image is of one process, and 0 in the others."""
        self._logits, self._targets = all_reduce_sum(self._logits), all_reduce_sum(self._targets)

    def of_images(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, targets, and whether to fit on it, of every pixel; those of one image are on the same side."""
        chosen = self._targets > 0
        for_fit = (torch.arange(len(chosen), device=chosen.device) % 2 == 0)[:, None].expand_as(chosen)
        return self._logits[chosen], self._targets[chosen] - 1, for_fit[chosen]


def normalized_entropy(probabilities: Tensor, classes: int) -> Tensor:
    """(N, C, ...) probabilities -> (N, ...): 0 where one class is certain, 1 where all are equally probable.

    Args:
        classes: how many can be predicted; C without the excluded ones.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return entropy / math.log(max(2, classes))
