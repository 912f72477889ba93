"""Of which network a weight file is, where it fits none that was asked for: a guess for an error message."""

import timm
import torch

from ssl_seg.weights.key_matching import Tensors, find_matches

# what is in the names of a family's tensors: only its networks are made, without memory
_FAMILIES = {
    "layer1.0.conv1": "resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 resnext50_32x4d",
    ".attn.qkv": "vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224 vit_large_patch16_224 "
    "vit_small_patch14_dinov2 vit_base_patch14_dinov2 vit_large_patch14_dinov2 vit_small_patch14_reg4_dinov2 "
    "vit_base_patch14_reg4_dinov2 vit_large_patch14_reg4_dinov2 vit_small_patch16_dinov3 vit_base_patch16_dinov3 "
    "swin_tiny_patch4_window7_224 swin_base_patch4_window7_224",
    "stages.0.blocks.0.conv_dw": "convnext_tiny convnext_small convnext_base",
    "denseblock1": "densenet121",
    "blocks.0.0.conv": "efficientnet_b0 mobilenetv2_100 mobilenetv3_large_100",
}


def network_like(tensors: Tensors) -> str | None:
    """The common network of timm that has the names and shapes of these tensors, at whatever image size."""
    families = [names for marker, names in _FAMILIES.items() if any(marker in key for key in tensors)]
    for name in " ".join(families).split():
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            net = timm.create_model(name, pretrained=False, num_classes=0)
        for match in find_matches(net, tensors):
            missing = [each for each in match.missing_keys if not each.endswith("num_batches_tracked")]
            if not (missing or match.extra_layers or match.shape_mismatches.keys() - {"pos_embed"}):
                return name
    return None
