"""How much computing a method takes: floating-point operations of training on one image."""

import copy
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssl_seg.augment.view_list import Views
from ssl_seg.utils.foreign import is_ctrl_c
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.log import log

if TYPE_CHECKING:
    from ssl_seg.base import SSLMethod
    from ssl_seg.engine.device import Device

_IMAGES = 8  # enough for methods that split a batch


def training_flops(method: "SSLMethod", views: Views, device: "Device") -> int | None:
    """Count the operations of a forward and a backward pass, per image, as PyTorch counts those of matrix products.

    A copy of the method is run on some images, so the method and the random number generators stay as they are.

    Args:
        views: of a batch, as a training step gets them.

    Returns:
        2 operations for a multiplication with an addition; None if a plugin's method cannot be copied or run so.
    """
    cuda = [views[0].device.index or 0] if views[0].device.type == "cuda" else []
    with torch.random.fork_rng(cuda), FlopCounterMode(display=False) as counter:
        try:
            trial = copy.deepcopy(method).train()
            device.to_device(trial)
            part = views.part(slice(_IMAGES))
            trial.training_step(part)["loss"].backward()
        except Interrupted:
            raise
        except BaseException as error:  # of foreign code, sys.exit() too; training itself reports it
            if is_ctrl_c(error):
                raise
            log.debug("operations of a step were not counted: %s", error)
            return None
    return int(counter.get_total_flops()) // len(part[0])
