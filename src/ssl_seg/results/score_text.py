"""How scores are written: their names, and no more digits than the images allow."""

import math
from collections.abc import Iterable
from statistics import fmean, stdev

_NAMES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_class": "mean class accuracy",
    "miou": "mean IoU",
    "fw_iou": "frequency-weighted IoU",
    "pixel_accuracy": "pixel accuracy",
    "accuracy": "top-1 accuracy",  # of training
    "probe_knn": "k-NN accuracy",
    "spread": "embedding standard deviation",
    "rank": "embedding rank",
}
_UNKNOWN = 1000  # images, where nothing is known of them


def score_name(key: str) -> str:
    """The name of a score of `scores.jsonl` or `result.json`; a key without one is its own."""
    return _NAMES.get(key.removeprefix("val_"), key.removeprefix("val_"))


def score_digits(images: int | None) -> int:
    """Decimals of a score that was measured on so many images.

    The standard error of a share of n images is at most 1 / (2 sqrt(n)). The last decimal is at most a fifth of that, and
    at least a fiftieth: two for up to 100 images, three for up to 10,000, four beyond.
    """
    return min(4, max(2, math.ceil(math.log10(math.sqrt(images or _UNKNOWN)) - 1e-9) + 1))


def format_mean_sd(values: Iterable[float], digits: int, sign: str = "") -> str:
    """Mean ± standard deviation; of a single value the value, and `n/a` without any."""
    mean, sd = mean_sd(values)
    if mean is None:
        return "n/a"
    return f"{mean:{sign}.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def mean_sd(values: Iterable[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (of the sample); None without a value, or without a second one."""
    found = list(values)
    return fmean(found) if found else None, stdev(found) if len(found) > 1 else None
