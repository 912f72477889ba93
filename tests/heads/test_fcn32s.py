"""FCN-32s against layers put together by hand, and torchvision's VGG."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Model
from ssl_seg.errors import WeightsError
from ssl_seg.heads.fcn32s import FCN32s, load_classifier
from ssl_seg.testing import check_head

CLASSES, WIDTH = 5, 24
ODD_SIZES = [(33, 33), (47, 64), (64, 97), (97, 65), (101, 101), (129, 40), (65, 159)]


def classifier(channels, width=WIDTH):
    """Weights under torchvision's names, in torchvision's shapes."""
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "classifier.0.weight": (width, channels * 49),
        "classifier.0.bias": (width,),
        "classifier.3.weight": (width, width),
        "classifier.3.bias": (width,),
    }
    return {name: torch.randn(*s, generator=generator) / s[-1] ** 0.5 for name, s in shapes.items()}


def made(channels=6, stride=32, width=WIDTH, **options):
    """A head with the weights above and a random score layer, in evaluation mode."""
    torch.manual_seed(0)
    head = FCN32s([channels], [stride], CLASSES, width=width, **options).eval()
    nn.init.normal_(head.score.weight)
    nn.init.normal_(head.score.bias)
    assert load_classifier(head, classifier(channels, width))
    return head


def by_hand(x, head, size, factor=32):
    """Patches times linear layers, torch's own interpolation, and the border repeated."""
    w = classifier(x.shape[1], head.score.in_channels)
    patches = F.unfold(x, 7, padding=3).transpose(1, 2)
    hidden = torch.relu(patches @ w["classifier.0.weight"].T + w["classifier.0.bias"])
    hidden = torch.relu(hidden @ w["classifier.3.weight"].T + w["classifier.3.bias"])
    score = hidden @ head.score.weight.flatten(1).T + head.score.bias
    score = score.transpose(1, 2).unflatten(2, x.shape[2:])
    large = F.interpolate(score, scale_factor=factor, mode="bilinear", align_corners=False)
    return F.pad(large, (0, factor, 0, factor), mode="replicate")[:, :, : size[0], : size[1]]


@pytest.mark.parametrize("size", [(64, 64), (97, 65)])
def test_with_torchvisions_vgg16_put_together_by_hand(size):
    torch.manual_seed(0)
    features = make_layers(cfgs["D"]).eval()
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    head = made(512)
    with torch.no_grad():
        x = features(torch.randn(2, 3, *size))
        expected = by_hand(x, head, size)
        assert expected.std() > 0.1
        torch.testing.assert_close(head([torch.empty(0), x], size), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_on_timms_vgg16_with_torchvisions_weights():
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(weights=None).eval()
    backbone = TimmBackbone("vgg16").eval()
    assert backbone.strides[-1] == 32 and backbone.channels[-1] == 512
    state = theirs.state_dict()
    backbone.load_state_dict({key: t for key, t in state.items() if key.startswith("features.")}, strict=True)
    model = Model(backbone, FCN32s(backbone.channels, backbone.strides, CLASSES)).eval()
    assert load_classifier(model.head, state)
    nn.init.normal_(model.head.score.weight)
    images = torch.randn(1, 3, 97, 65)
    with torch.no_grad():
        patches = F.unfold(theirs.features(images), 7, padding=3).transpose(1, 2)
        hidden = theirs.classifier[:5](patches)  # both wide layers
        score = (hidden @ model.head.score.weight.flatten(1).T).transpose(1, 2).unflatten(2, (3, 2))
        large = F.interpolate(score, scale_factor=32, mode="bilinear", align_corners=False)
        expected = F.pad(large, (0, 32, 0, 32), mode="replicate")[:, :, :97, :65]
        torch.testing.assert_close(model(images), expected, atol=1e-4, rtol=1e-4)


def test_the_middle_cell_sees_what_vggs_classifier_sees():
    head, w = made(6, stride=1), classifier(6)
    linear = nn.Sequential(nn.Linear(294, WIDTH), nn.ReLU(), nn.Identity(), nn.Linear(WIDTH, WIDTH))
    linear.load_state_dict({name.removeprefix("classifier."): tensor for name, tensor in w.items()})
    x = torch.randn(3, 6, 7, 7)
    expected = head.score(torch.relu(linear(x.flatten(1)))[:, :, None, None])[:, :, 0, 0]
    torch.testing.assert_close(head([x], (7, 7))[:, :, 3, 3], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 16, 32])
@pytest.mark.parametrize("learn", [False, True])
def test_upsampling_starts_as_bilinear_interpolation(factor, learn):
    head, x = made(stride=factor, learn_upsampling=learn), torch.randn(1, 6, 3, 4)
    size = (3 * factor, 4 * factor)
    torch.testing.assert_close(head([x], size), by_hand(x, head, size, factor), atol=1e-5, rtol=1e-5)
    weights = dict(head.named_parameters())
    assert all(weight.requires_grad for weight in weights.values())
    assert ("upscore.weight" in weights) is learn


@pytest.mark.parametrize("size", ODD_SIZES)
def test_logits_have_the_images_size_and_place(size):
    head = made()
    for cells in ([side // 32 for side in size], [-(-side // 32) for side in size]):  # VGG's, ResNet's
        x = torch.randn(1, 6, *cells)
        found = head([x], size)
        assert found.shape == (1, CLASSES, *size)
        torch.testing.assert_close(found, by_hand(x, head, size), atol=1e-5, rtol=1e-5)


def test_the_map_of_a_network_that_pads_nothing_is_stretched():
    head, x = made(), torch.randn(1, 6, 8, 8)
    whole = by_hand(x, head, (256, 256))
    expected = F.interpolate(whole, size=(299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head([x], (299, 299)), expected, atol=1e-5, rtol=1e-5)


def test_the_score_begins_at_zero_and_dropout_follows_both_wide_layers():
    head = FCN32s([6], [32], CLASSES, width=WIDTH)
    x = torch.randn(2, 6, 4, 4)
    assert not head([x], (128, 128)).any()
    dropped = []
    head.dropout.register_forward_hook(lambda module, given, found: dropped.append((given[0], found)))
    head([x], (128, 128))
    assert head.dropout.p == 0.5 and len(dropped) == 2
    for given, found in dropped:
        assert (given >= 0).all()  # after the ReLU
        assert (
            torch.equal(found[found != 0], 2 * given[found != 0]) and (found == 0).sum() > (given == 0).sum()
        )


def test_the_contract():
    check_head(partial(FCN32s, width=16))
    check_head(partial(FCN32s, width=16, learn_upsampling=True))


# --- VGG's classifier -----------------------------------------------------------------------------


def test_timms_names_are_the_same_classifier():
    theirs = classifier(6)
    shapes = {"0": ("fc1", (WIDTH, 6, 7, 7)), "3": ("fc2", (WIDTH, WIDTH, 1, 1))}
    convs = {}
    for number, (name, shape) in shapes.items():
        convs[f"pre_logits.{name}.weight"] = theirs[f"classifier.{number}.weight"].view(shape)
        convs[f"pre_logits.{name}.bias"] = theirs[f"classifier.{number}.bias"]
    head = FCN32s([6], [32], CLASSES, width=WIDTH)
    assert load_classifier(head, convs)
    for name, tensor in made().state_dict().items():
        assert torch.equal(head.state_dict()[name], tensor) or name.startswith("score")


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"layer4.1.conv2.weight": torch.zeros(8, 8, 3, 3), "fc.weight": torch.zeros(10, 8)},
        {"classifier.0.weight": torch.zeros(30, 6), "classifier.3.weight": torch.zeros(10, 30)},
        classifier(7),
    ],
)
def test_what_is_not_vggs_classifier_is_left_alone(tensors):
    head = made()
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    assert not load_classifier(head, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"classifier.0.bias": None}, "classifier.0.bias is missing"),
        ({"classifier.3.weight": None}, "classifier.3.weight is missing"),
        (
            classifier(6, 10),
            "classifier.0.weight of the VGG classifier is 10 x 294, the head requires 24 x 6 x 7 x 7",
        ),
        (
            {"classifier.3.weight": torch.zeros(WIDTH, 9)},
            "classifier.3.weight of the VGG classifier is 24 x 9",
        ),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_whole(change, what):
    head = made()
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    tensors = {name: tensor for name, tensor in (classifier(6) | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=what):
        load_classifier(head, {name: tensor + 1.0 for name, tensor in tensors.items()})
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())


@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (3, 9), (16, 16)])
def test_the_matrix_product_is_the_convolution(shape):
    """Forward and all gradients; in double precision, as the order of sums differs."""
    torch.manual_seed(0)
    head = FCN32s([6], [1], 3, width=10, dropout=0.0).double()  # of stride 1: nothing is enlarged
    nn.init.normal_(head.score.weight)
    one = torch.randn(2, 6, *shape, dtype=torch.float64, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    weigh = torch.randn(2, 3, *shape, dtype=torch.float64)
    plain = head.score(head.fc7(head.fc6(one).relu()).relu())
    gradients = []
    for x, made in ((one, plain), (two, head([two], shape))):
        (made * weigh).sum().backward()
        gradients.append((made.detach(), x.grad, *(p.grad.clone() for p in head.parameters())))
        head.zero_grad()
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
