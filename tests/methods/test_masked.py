"""MAE and SimMIM: their losses and masks against plain formulas, and MAE against the implementation of transformers."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.mae import MAE, mae_loss
from ssl_seg.methods.simmim import SimMIM, simmim_loss
from ssl_seg.nn.positions import sine_positions
from ssl_seg.nn.tiny_backbone import tiny_backbone
from ssl_seg.nn.token_backbone import TokenBackbone
from ssl_seg.testing import TinyTokens, check_method

SMALL = {MAE: {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}, SimMIM: {"mask_patch": 8}}


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(method, **options):
    torch.manual_seed(0)
    return method(TinyTokens(), **{**SMALL[method], **options}).train()


def views_of(method, samples=None, size=32):
    samples = torch.arange(6) if samples is None else samples
    images = torch.randint(0, 256, (40, 3, 48, 48), generator=torch.Generator().manual_seed(0)).byte()
    return augment(images[samples], method.views, samples=samples, seed=2, size=size)


def asked(method, monkeypatch):
    """What the backbone is asked to keep or hide, step by step."""
    seen, tokens = [], method.backbone.tokens

    def noting(images, **options):
        seen.append(options.get("keep", options.get("hide")))
        return tokens(images, **options)

    monkeypatch.setattr(method.backbone, "tokens", noting)
    return seen


@pytest.mark.parametrize("method", SMALL)
def test_the_contract(method):
    check_method(lambda backbone: method(backbone, **SMALL[method]), backbone=TinyTokens)


@pytest.mark.parametrize("method", SMALL)
def test_plain_tensors_are_refused(method):
    with pytest.raises(PluginError, match="needs views that know their boxes and images"):
        small(method)([points(2, 3, 32, 32)])


@pytest.mark.parametrize("method", SMALL)
def test_masks_are_those_of_an_image_whatever_it_is_beside(method, monkeypatch):
    made = small(method)
    seen = asked(made, monkeypatch)
    made(views_of(made, torch.arange(6)))
    made(views_of(made, torch.tensor([4, 1])))
    assert torch.equal(seen[0][[4, 1]], seen[1])
    assert not torch.equal(seen[0][0], seen[0][1]), "each image has its own"


@pytest.mark.parametrize("method", SMALL)
def test_every_patch_is_hidden_as_often(method, monkeypatch):
    made = small(method)
    seen = asked(made, monkeypatch)
    made(augment(torch.zeros(2000, 3, 16, 16).byte(), made.views, samples=torch.arange(2000), size=16))
    (given,) = seen
    if method is MAE:
        assert given.shape == (2000, 4)
        share = given.flatten().bincount(minlength=16) / 2000
        assert (share - 0.25).abs().max() < 0.05
    else:
        squares = given.unflatten(1, (2, 2, 2, 2)).transpose(2, 3).flatten(3)
        assert torch.equal(squares.all(dim=3), squares.any(dim=3)), "a square is hidden as a whole"
        assert (given.sum(dim=1) == 12).all(), "60 % of 4 squares are 3"
        assert (given.float().mean(dim=0) - 0.75).abs().max() < 0.05


@pytest.mark.parametrize(("method", "share"), [(MAE, 1.5), (MAE, 0.0), (SimMIM, 1.0)])
def test_a_share_that_is_none_is_refused(method, share):
    with pytest.raises(UsageError, match="mask must be between 0 and 1"):
        small(method, mask=share)


# --- MAE --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_pix", [True, False])
def test_mae_loss_equals_its_formula(norm_pix):
    predictions, patches = points(2, 3, 5, 12)
    hidden = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 0, 0, 1]]).bool()
    terms = []
    for image in range(3):
        for patch in range(5):
            target = patches[image, patch].double().numpy()
            if norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            if hidden[image, patch]:
                terms.append(np.mean((predictions[image, patch].double().numpy() - target) ** 2))
    found = mae_loss(predictions, patches, hidden, norm_pix=norm_pix)
    assert found.item() == pytest.approx(np.mean(terms), abs=1e-6)


PARTS = {  # of a block, as versions of transformers call them
    "q": r"q_proj|query",
    "k": r"k_proj|key",
    "v": r"v_proj|value",
    "out": r"o_proj|attention\.output\.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "fc1": r"fc1|intermediate\.dense",
    "fc2": r"fc2|(?<!attention\.)output\.dense",
}


def put(theirs, prefix, **parts):
    """Give the parts of a block of theirs the weights of ours."""
    for part, (weight, bias) in parts.items():
        (name,) = [
            key[: -len(".weight")]
            for key, _ in theirs.named_parameters()
            if re.match(rf"{prefix}\.", key) and re.search(rf"({PARTS[part]})\.weight$", key)
        ]
        module = theirs.get_submodule(name)
        module.weight.copy_(weight)
        module.bias.copy_(bias)


def pairs(**modules):
    return {name: (module.weight, module.bias) for name, module in modules.items()}


def split(weight, bias):
    """Queries, keys and values of one layer that makes all three."""
    return dict(zip("qkv", zip(weight.chunk(3), bias.chunk(3), strict=True), strict=True))


@torch.no_grad()
def theirs_of(ours, side):
    """The network of transformers with the weights of ours."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    net, decoder = ours.backbone.net, ours.blocks[0]
    encoder = {"hidden_size": 64, "num_hidden_layers": len(net.blocks), "image_size": side}
    encoder |= {"num_attention_heads": net.blocks[0].attn.num_heads, "layer_norm_eps": 1e-6}
    encoder |= {"intermediate_size": net.blocks[0].mlp.fc1.out_features, "norm_pix_loss": True}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    small = {f"decoder_{key}": value for key, value in small.items()}
    theirs = ViTMAEForPreTraining(ViTMAEConfig(**encoder, **small)).eval()
    embeddings = theirs.vit.embeddings
    embeddings.cls_token.copy_(net.cls_token)
    embeddings.position_embeddings.copy_(net.pos_embed)
    embeddings.patch_embeddings.projection.load_state_dict(net.patch_embed.proj.state_dict())
    theirs.vit.layernorm.load_state_dict(net.norm.state_dict())
    theirs.decoder.mask_token.copy_(ours.mask_token)
    theirs.decoder.decoder_pos_embed[:, 0] = 0.0
    theirs.decoder.decoder_pos_embed[:, 1:] = sine_positions((side // 16,) * 2, 16, torch.zeros(()))
    for name, part in (("embed", ours.embed), ("norm", ours.norm), ("pred", ours.paint)):
        theirs.decoder.get_submodule(f"decoder_{name}").load_state_dict(part.state_dict())
    for index, block in enumerate(net.blocks):
        parts = pairs(out=block.attn.proj, norm1=block.norm1, norm2=block.norm2)
        parts |= pairs(fc1=block.mlp.fc1, fc2=block.mlp.fc2) | split(*pairs(qkv=block.attn.qkv)["qkv"])
        put(theirs, rf"vit\.(encoder\.layer|layers)\.{index}", **parts)
    own = decoder.self_attn
    parts = pairs(out=own.out_proj, norm1=decoder.norm1, norm2=decoder.norm2)
    parts |= pairs(fc1=decoder.linear1, fc2=decoder.linear2) | split(own.in_proj_weight, own.in_proj_bias)
    put(theirs, r"decoder\.decoder_layers\.0", **parts)
    return theirs


def test_mae_equals_the_implementation_of_transformers():
    """Loss and gradients, with the same weights and the same patches hidden."""
    torch.manual_seed(0)
    side = 160  # the network's own: transformers has fixed positions
    ours = MAE(TimmBackbone("test_vit"), **SMALL[MAE]).train()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs = theirs_of(ours, side)
    views = views_of(ours, torch.arange(3), side)
    loss = ours(views)["loss"]
    expected = theirs(views[0], noise=views.chance(100).T).loss
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.backward()
    for mine, other in (
        (ours.backbone.net.patch_embed.proj, theirs.vit.embeddings.patch_embeddings.projection),
        (ours.embed, theirs.decoder.decoder_embed),
        (ours.paint, theirs.decoder.decoder_pred),
    ):
        torch.testing.assert_close(mine.weight.grad, other.weight.grad, atol=1e-6, rtol=1e-3)
    grad = ours.mask_token.grad
    torch.testing.assert_close(grad, theirs.decoder.mask_token.grad.flatten(), atol=1e-6, rtol=1e-3)


def test_every_part_of_mae_learns():
    method = MAE(TimmBackbone("test_vit"), **SMALL[MAE]).train()
    method(views_of(method, size=64))["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_mae_learns_from_patches_of_an_oblong_image():
    method = small(MAE)
    views = views_of(method)
    views = views.replaced([views[0][:, :, :16]])
    assert bool(torch.isfinite(method(views)["loss"]))


@pytest.mark.parametrize(
    ("options", "said"), [({"decoder_width": 18}, "multiple of 4"), ({"decoder_heads": 3}, "3 heads")]
)
def test_a_decoder_whose_width_does_not_suit_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        small(MAE, **options)


def test_an_image_with_too_few_patches_is_refused():
    method = MAE(TimmBackbone("test_vit"), **SMALL[MAE])
    with pytest.raises(UsageError, match="mae needs at least 4 patches of 16 px") as caught:
        method(views_of(method, size=16))
    assert caught.value.next == "--image-size 64"
    with pytest.raises(UsageError, match="'test_vit' does not support 40 x 40 images"):
        method(views_of(method, size=40))


# --- SimMIM -----------------------------------------------------------------------------------------


def test_simmim_loss_equals_its_formula():
    """L1 over hidden pixels, divided by their number and the channels."""
    predictions, patches = points(2, 3, 4, 12)
    hidden = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]]).bool()
    p, x = (each.double().numpy().reshape(3, 4, 4, 3) for each in (predictions, patches))
    mask = hidden.numpy()[:, :, None, None] * np.ones((1, 1, 4, 1))
    expected = (np.abs(p - x) * mask).sum() / mask.sum() / 3
    assert simmim_loss(predictions, patches, hidden).item() == pytest.approx(expected, abs=1e-6)


def test_simmim_predicts_the_pixels_of_hidden_squares(monkeypatch):
    method = small(SimMIM)
    views = views_of(method)
    seen = asked(method, monkeypatch)
    loss = method(views)["loss"]
    (hidden,) = seen
    tokens = TinyTokens.tokens(method.backbone, views[0], hide=hidden, mask_token=method.mask_token)
    pixels = method.paint(tokens[:, 1:]).unflatten(1, (8, 8)).unflatten(3, (4, 4, 3))
    painted = pixels.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
    mask = hidden.unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    expected = ((painted - views[0]).abs() * mask).sum() / mask.sum() / 3
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("mask_patch", "side"), [(32, 2), (16, 1), (40, 2), (5, 1)])
def test_squares_are_whole_patches(mask_patch, side, monkeypatch):
    method = SimMIM(TimmBackbone("test_vit"), mask_patch=mask_patch).train()
    seen = asked(method, monkeypatch)
    method(views_of(method, size=96))
    squares = seen[0].unflatten(1, (6 // side, side, 6 // side, side)).transpose(2, 3).flatten(3)
    assert torch.equal(squares.all(dim=3), squares.any(dim=3))
    count = squares.all(dim=3).flatten(1).sum(dim=1)
    assert (count == -(-((6 // side) ** 2) * 6 // 10)).all()


def test_a_side_that_squares_do_not_divide_is_covered_all_the_same(monkeypatch):
    method = SimMIM(TimmBackbone("test_vit")).train()
    seen = asked(method, monkeypatch)
    out = method(views_of(method, size=80))
    assert seen[0].shape == (6, 25) and seen[0].any(dim=1).all() and not seen[0].all(dim=1).any()
    assert bool(torch.isfinite(out["loss"]))


def test_one_square_is_refused():
    method = SimMIM(TimmBackbone("test_vit"))
    with pytest.raises(UsageError, match="squares of 32 px, and an image has only one") as caught:
        method(views_of(method, size=32))
    assert caught.value.next.startswith("-o ssl.mask_patch=16")


def test_every_part_of_simmim_learns():
    method = SimMIM(TimmBackbone("test_vit")).train()
    method(views_of(method, size=64))["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- the backbone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mae", "simmim"])
@pytest.mark.parametrize("backbone", ["resnet10t", "test_convnext"])
def test_a_network_without_tokens_is_refused_in_one_line(cli, tmp_path, method, backbone):
    words = ["--epochs", 1, "--batch-size", 4, "--image-size", 32, "--cpu", "--out", tmp_path / "run"]
    code, _, err = cli("train", "demo:8", "--ssl", method, "--backbone", backbone, *words)
    assert code == 2
    assert f"{method} needs a transformer, and {backbone} is none" in err
    assert "--backbone vit_small_patch16_224; for a ResNet, --ssl spark" in err


def test_the_kit_gives_them_a_transformer():
    assert tiny_backbone(MAE).patch and tiny_backbone(SimMIM).patch and not tiny_backbone(BYOL).patch
    old = type("Old", (BYOL,), {"needs": TokenBackbone})  # as it was declared before
    assert tiny_backbone(old).patch and tiny_backbone(partial(old, hidden=8)).patch
