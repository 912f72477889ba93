"""Tokens of transformers, against timm's own forward pass."""

import copy
import pickle

import pytest
import torch

from ssl_seg.backbones.timm import TimmBackbone, early_options
from ssl_seg.errors import UsageError
from ssl_seg.nn.positions import sine_positions
from ssl_seg.nn.token_backbone import TokenBackbone
from ssl_seg.testing import TinyTokens, check_backbone

FAST = ["test_vit", "test_vit2", "test_vit3", "test_vit4"]
SLOW = [  # class, distillation and register tokens, none; learned, rotary and both kinds of positions
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_wee_patch16_reg1_gap_256",
    "eva02_tiny_patch14_224",
    "vit_tiny_patch16_dinov3_qkvb",
    "vit_small_patch16_rope_mixed_224",
    "vit_pe_core_tiny_patch16_384",
]
NETS = FAST + [pytest.param(name, marks=pytest.mark.slow) for name in SLOW]


def lively(backbone):
    """In evaluation mode, with weights that differ from their start: class tokens and biases begin with 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in backbone.parameters():
            tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator))
    return backbone.eval()


def images_for(backbone, down=4, across=6):
    size = (backbone.patch * down, backbone.patch * across)
    return torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NETS)
def backbone(request):
    return lively(TimmBackbone(request.param))


@torch.no_grad()
def test_tokens_are_timms_features_also_of_some_patches_in_any_order(backbone):
    images = images_for(backbone)
    expected = backbone.net.forward_features(images)
    assert isinstance(backbone, TokenBackbone)  # the deprecated way to ask
    assert backbone.grid(*images.shape[2:]) == (4, 6)
    assert expected.shape == (3, backbone.prefix + 24, backbone.width)
    assert torch.equal(backbone.tokens(images), expected)
    sequential_batches = torch.arange(24).expand(3, -1)
    torch.testing.assert_close(
        backbone.tokens(images, keep=sequential_batches), expected, atol=1e-5, rtol=1e-5
    )
    keep = torch.stack([torch.randperm(24) for _ in range(3)])
    kept = backbone.tokens(images, keep=keep)[:, backbone.prefix :]
    patches = expected[:, backbone.prefix :].gather(1, keep[..., None].expand(-1, -1, backbone.width))
    torch.testing.assert_close(kept, patches, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_what_is_not_kept_has_no_influence(backbone):
    images = images_for(backbone)
    keep = torch.arange(7).expand(3, -1)
    before = backbone.tokens(images, keep=keep)
    assert before.shape == (3, backbone.prefix + 7, backbone.width)
    changed = images.clone()
    changed[:, :, 2 * backbone.patch :] = 0.0
    assert torch.equal(backbone.tokens(changed, keep=keep), before)
    changed[:, :, : backbone.patch] = 0.0
    assert not torch.allclose(backbone.tokens(changed, keep=keep), before, atol=1e-3)


@torch.no_grad()
def test_hidden_patches_are_the_mask_token_at_their_place(backbone):
    images, token = images_for(backbone), torch.randn(backbone.width)
    hide = torch.rand(3, 24) < 0.5
    hidden = backbone.tokens(images, hide=hide, mask_token=token)
    cells = (
        hide.unflatten(1, (4, 6)).repeat_interleave(backbone.patch, 1).repeat_interleave(backbone.patch, 2)
    )
    other = images.where(~cells[:, None], torch.randn_like(images))
    assert torch.equal(backbone.tokens(other, hide=hide, mask_token=token), hidden)
    everything = torch.ones_like(hide)
    alone = backbone.tokens(images, hide=everything, mask_token=token)[:, backbone.prefix :]
    assert not torch.allclose(alone[:, 0], alone[:, -1], atol=1e-4), "positions are added to mask tokens"
    nothing = backbone.tokens(images, hide=~everything, mask_token=token)
    assert torch.equal(nothing, backbone.net.forward_features(images))


@torch.no_grad()
def test_a_summary_is_the_class_token_where_there_is_one(backbone):
    images = images_for(backbone)
    tokens, pooled = backbone.net.forward_features(images), backbone(images)[-1].mean(dim=(2, 3))
    has_one = backbone.net.cls_token is not None
    assert torch.equal(backbone.summary(images), tokens[:, 0] if has_one else pooled)
    backbone.pool = "mean"
    torch.testing.assert_close(backbone.summary(images), tokens[:, backbone.prefix :].mean(dim=1))
    assert torch.equal(backbone.summary(images), pooled)


def test_checkpointing_changes_no_number():
    backbone, images = lively(TimmBackbone("test_vit")), images_for(TimmBackbone("test_vit"))
    gradients = []
    for on in (False, True):
        backbone.net.set_grad_checkpointing(on)
        backbone.zero_grad()
        backbone.tokens(images).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in backbone.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_a_size_that_patches_do_not_divide_is_refused():
    with pytest.raises(UsageError, match="'test_vit' does not support 60 x 64 images"):
        TimmBackbone("test_vit").tokens(torch.zeros(1, 3, 60, 64))


def test_only_plain_transformers_have_tokens():
    assert TimmBackbone("test_vit").patch == 16
    for other in (
        "resnet10t",
        "test_convnext",
        "vit_tiny_r_s16_p8_224",
    ):  # the last sees images through a ResNet
        backbone = TimmBackbone(other)
        assert backbone.patch == 0 and not isinstance(backbone, TokenBackbone)
        with pytest.raises(UsageError, match="TimmBackbone has no tokens"):
            backbone.tokens(torch.zeros(1, 3, 64, 64))
    for copied in (
        copy.deepcopy(TimmBackbone("test_vit")),
        pickle.loads(pickle.dumps(TimmBackbone("test_vit"))),
    ):
        assert (copied.patch, copied.width, copied.prefix) == (16, 64, 1)
    assert TimmBackbone("test_vit", pool="mean").built_as == ("test_vit", {"pool": "mean"})
    assert TimmBackbone("test_vit").built_as == ("test_vit", {})


def test_a_transformer_of_the_first_version_is_pooled_as_it_was():
    assert early_options("test_vit", {}) == {"pool": "mean"}
    assert early_options("test_vit", {"pool": "token"}) == {}


def test_the_backbone_of_the_kit_keeps_the_contract():
    check_backbone(TinyTokens)


@torch.no_grad()
def test_so_do_its_tokens():
    torch.manual_seed(0)
    backbone, images = TinyTokens(), torch.randn(2, 3, 12, 16)
    whole = backbone.tokens(images)
    keep = torch.stack([torch.randperm(12) for _ in range(2)])
    kept = whole[:, 1:].gather(1, keep[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(backbone.tokens(images, keep=keep)[:, 1:], kept, atol=1e-5, rtol=1e-4)
    hide = torch.rand(2, 12) < 0.5
    hidden = backbone.tokens(images, hide=hide, mask_token=torch.ones(16))
    assert not torch.allclose(hidden, whole, atol=1e-3)
    assert torch.equal(backbone.tokens(images, hide=hide & False, mask_token=torch.ones(16)), whole)
    torch.testing.assert_close(backbone(images)[-1].flatten(2).mT, whole[:, 1:])


def test_positions_tell_places_apart_and_are_those_of_their_formula():
    found = sine_positions((3, 5), 8, torch.zeros(()))
    assert found.shape == (15, 8)
    assert torch.cdist(found, found).add(torch.eye(15)).min() > 0.1
    row, column = 2, 3
    angles = torch.tensor([row, row / 100.0, column, column / 100.0])
    expected = torch.cat([angles[:2].sin(), angles[:2].cos(), angles[2:].sin(), angles[2:].cos()])
    assert sorted(found[13].tolist()) == pytest.approx(sorted(expected.tolist()), abs=1e-6)
