"""SparK: masks, what is reconstructed, and what is kept. The sparse encoder has tests of its own."""

import numpy as np
import pytest
import torch

from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods import spark
from ssl_seg.methods.spark import SparK, reconstruction_loss
from ssl_seg.nn.patches import patchify
from ssl_seg.nn.visible_cells import VisibleCells
from ssl_seg.testing import TinyBackbone, check_method


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def views_of(method, samples=None, size=16):
    samples = torch.arange(6) if samples is None else samples
    images = torch.randint(0, 256, (40, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte()
    return augment(images[samples], method.views, samples=samples, seed=2, size=size)


def small(**options):
    torch.manual_seed(0)
    return SparK(TinyBackbone(), width=16, **options).train()


def test_the_contract():
    check_method(lambda backbone: SparK(backbone, width=16))


@pytest.mark.parametrize(
    ("name", "options"), [("resnet18", {}), ("resnet18", {"output_stride": 8}), ("convnext_atto", {})]
)
def test_every_part_learns_and_the_backbone_stays_plain(name, options):
    backbone = TimmBackbone(name, **options)
    keys = list(backbone.state_dict())
    method = SparK(backbone, width=16).train()
    method(views_of(method, torch.arange(2), 64))["loss"].backward()
    assert method.backbone is backbone and list(backbone.state_dict()) == keys
    # the last BatchNorm of a ResNet's block starts at 0, and holds back what lies before it
    assert all(p.grad is not None for p in method.parameters())
    assert all(p.grad.any() for key, p in method.named_parameters() if not key.startswith("backbone."))


# --- the mask ---------------------------------------------------------------------------------------


def masks_of(method, views, monkeypatch):
    seen = []

    class Noting(VisibleCells):
        def __init__(self, kept, side):
            super().__init__(kept, side)
            seen.append(self.visible)

    monkeypatch.setattr(spark, "VisibleCells", Noting)
    method(views)
    return seen[0]


@pytest.mark.parametrize(("mask", "count"), [(0.6, 6), (0.75, 4), (0.01, 15), (0.99, 1)])
def test_the_share_of_hidden_patches(monkeypatch, mask, count):
    method = small(mask=mask)
    visible = masks_of(method, views_of(method), monkeypatch)
    assert visible.shape == (6, 4, 4) and (visible.sum(dim=(1, 2)) == count).all()
    assert mask > 0.9 or len(visible.flatten(1).unique(dim=0)) > 1, "every image has a mask of its own"


def test_a_mask_is_of_the_image_and_not_of_the_batch(monkeypatch):
    method = small()
    whole = masks_of(method, views_of(method, torch.arange(8)), monkeypatch)
    torch.manual_seed(7)
    rows = torch.tensor([6, 3])
    assert torch.equal(masks_of(method, views_of(method, rows), monkeypatch), whole[rows])
    part = masks_of(method, views_of(method, torch.arange(8)).part(slice(2, 5)), monkeypatch)
    assert torch.equal(part, whole[2:5])


# --- the loss ---------------------------------------------------------------------------------------


def test_patches_are_squares_row_by_row():
    images = points(2, 3, 6, 6)
    patches = patchify(images, 2).numpy()
    for index in range(9):
        y, x = 2 * (index // 3), 2 * (index % 3)
        square = images[:, :, y : y + 2, x : x + 2].permute(0, 2, 3, 1).reshape(2, -1)
        np.testing.assert_array_equal(patches[:, index], square)


def test_the_loss_equals_its_formula():
    predictions, patches = points(2, 3, 5, 12)
    hidden = points(3, 5, seed=1) > 0
    p, x = predictions.double().numpy(), patches.double().numpy()
    unit = (x - x.mean(axis=2, keepdims=True)) / np.sqrt(x.var(axis=2, ddof=1, keepdims=True) + 1e-6)
    expected = np.mean([((p[i, j] - unit[i, j]) ** 2).mean() for i, j in hidden.nonzero().tolist()])
    assert reconstruction_loss(predictions, patches, hidden).item() == pytest.approx(expected, abs=1e-5)


def test_hidden_pixels_are_the_target_alone_and_visible_ones_the_input_alone(monkeypatch):
    """Scaled and shifted hidden patches have the same normalised pixels: the loss does not move."""
    method = small()
    views = views_of(method)
    visible = masks_of(method, views, monkeypatch).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    loss = method(views)["loss"]
    scaled = views.replaced([torch.where(visible, views[0], 3.0 * views[0] + 1.0)])
    torch.testing.assert_close(method(scaled)["loss"], loss, atol=1e-5, rtol=1e-5)
    other = views.replaced([torch.where(visible, views[0], views[0].flip(3))])
    assert abs(method(other)["loss"] - loss) > 1e-3
    moved = views.replaced([torch.where(visible, views[0] + points(6, 3, 16, 16), views[0])])
    assert abs(method(moved)["loss"] - loss) > 1e-4


def test_hidden_patches_alone_count(monkeypatch):
    method, given = small(), []
    monkeypatch.setattr(spark, "reconstruction_loss", lambda *values: given.extend(values) or values[0].sum())
    views = views_of(method)
    visible = masks_of(method, views, monkeypatch)
    predictions, patches, hidden = given
    assert torch.equal(hidden, ~visible.flatten(1)) and predictions.shape == patches.shape == (6, 16, 48)
    assert torch.equal(patches, patchify(views[0], 4))


def test_it_learns_to_paint_a_ramp():
    """Each patch of a ramp looks alike once it is normalised; predicting its mean alone has a loss of 1."""
    method = small()
    ramp = torch.linspace(-1, 1, 16).expand(6, 3, 16, 16)
    views = views_of(method).replaced([ramp + 0.01 * points(6, 3, 16, 16)])
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = method(views)["loss"]
        loss.backward()
        optimizer.step()
    assert loss < 0.3


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_refused_at_once(name):
    with pytest.raises(UsageError, match="spark needs a convolutional network") as error:
        SparK(TimmBackbone(name))
    assert "--ssl mae" in error.value.next


def test_strides_that_no_decoder_reaches_are_refused():
    class Three(TinyBackbone):
        def __init__(self):
            super().__init__()
            self.strides = [2, 6]

    with pytest.raises(UsageError, match="stride of its deepest map is 6"):
        SparK(Three())


@pytest.mark.parametrize("size", [4, 18])
def test_images_of_too_few_or_broken_patches_are_refused(size):
    method = small()
    with pytest.raises(UsageError, match=r"patches of 4 px, at least 2 x 2, and got") as error:
        method(views_of(method, size=size))
    assert error.value.next == "--image-size 16"


def test_other_words_are_refused():
    for mask in (0.0, 1.0):
        with pytest.raises(UsageError, match=r"ssl\.mask"):
            SparK(TinyBackbone(), mask=mask)
    with pytest.raises(PluginError, match="spark needs views"):
        small()([points(2, 3, 16, 16)])


# the compiler of torch 2.10 looks at it itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_torch_compile_takes_it():
    method = small()
    views = views_of(method)
    torch.testing.assert_close(torch.compile(method, backend="eager")(views)["loss"], method(views)["loss"])
