"""Two methods on one backbone in one run: BYOL for whole images, DenseCL for the cells of feature maps.

ssl-seg train demo:400 --ssl examples/composed_method.py:BYOLDenseCL --backbone resnet10t --epochs 2
ssl-seg plugins check examples/composed_method.py:BYOLDenseCL
"""

from ssl_seg import BYOL, ComposedMethod, DenseCL


class BYOLDenseCL(ComposedMethod):
    """The sum of both losses, on BYOL's views.

    Args:
        backbone: trained and kept.
        dense: weight of DenseCL's loss.
    """

    views, recipe = BYOL.views, BYOL.recipe

    def __init__(self, backbone, *, dense: float = 0.5):
        parts = {"byol": BYOL(backbone), "densecl": DenseCL(backbone, splits=1)}
        super().__init__(backbone, parts, weights={"densecl": dense})
