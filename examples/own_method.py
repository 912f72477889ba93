"""A custom method in one file: rotation prediction (Gidaris et al. 2018, arXiv:1803.07728).

ssl-seg train demo:400 --ssl examples/own_method.py:Rotations --backbone resnet10t --epochs 2
ssl-seg plugins check examples/own_method.py:Rotations
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from ssl_seg import SSLMethod, View


class Rotations(SSLMethod):
    """Rotate each image by 0, 90, 180 and 270 degrees; the network predicts the rotation.

    Args:
        backbone: trained and kept.
        dropout: dropout probability before the classifier.
    """

    views = (View(),)  # one view per image; configure its crops and colors here
    recipe: ClassVar = {"optimizer": "sgd", "lr": 0.05}  # defaults of the run

    def __init__(self, backbone, *, dropout: float = 0.0):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.channels[-1], 4))

    def training_step(self, views):
        (images,) = views
        turned = torch.cat([images.rot90(turn, (2, 3)) for turn in range(4)])
        turns = torch.arange(4, device=images.device).repeat_interleave(len(images))
        features = self.backbone.summary(turned)
        logits = self.head(features)
        right = (logits.argmax(dim=1) == turns).float().mean()
        return {"loss": F.cross_entropy(logits, turns), "turns_right": right, "embedding": features}
