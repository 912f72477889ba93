import pytest
import torch
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.nn.layers import global_pool, make_ema_copy, mlp, update_ema


def kinds(module):
    return [type(part).__name__ for part in module]


def test_mlp_has_norm_and_relu_between_linear_layers():
    module = mlp(5, 7, 3)
    assert kinds(module) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert module[0].bias is None, "the norm that follows has a bias"
    assert module[3].bias is not None
    assert module(torch.randn(4, 5)).shape == (4, 3)


def test_mlp_of_simsiam_ends_with_a_norm_without_parameters():
    module = mlp(5, 7, 3, num_layers=3, last_norm=True)
    assert kinds(module) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert [(part.in_features, part.out_features) for part in module if isinstance(part, nn.Linear)] == [
        (5, 7),
        (7, 7),
        (7, 3),
    ]
    assert module[-2].bias is None
    assert not list(module[-1].parameters())
    out = module(torch.randn(64, 5))
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(dim=0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)


def test_pool_is_the_mean_over_space_of_the_deepest_map():
    shallow, deep = torch.randn(2, 4, 8, 6), torch.randn(2, 5, 4, 3)
    expected = torch.stack([deep[b, c].sum() / 12 for b in range(2) for c in range(5)]).view(2, 5)
    torch.testing.assert_close(global_pool([shallow, deep]), expected)


class TestFrozenCopy:
    def test_it_shares_nothing_and_requires_no_gradient(self):
        online = mlp(5, 7, 3)
        target = make_ema_copy(online)
        ours = {tensor.data_ptr() for tensor in online.state_dict().values()}
        assert ours.isdisjoint(tensor.data_ptr() for tensor in target.state_dict().values())
        assert not any(parameter.requires_grad for parameter in target.parameters())
        assert all(parameter.requires_grad for parameter in online.parameters()), "the original is as it was"
        for name, tensor in online.state_dict().items():
            assert torch.equal(tensor, target.state_dict()[name])

    @pytest.mark.parametrize(
        ("norm", "shape"), [(nn.BatchNorm1d(3), (8, 3)), (nn.BatchNorm2d(3), (8, 3, 4, 4))]
    )
    def test_a_forward_pass_normalises_by_the_batch_and_moves_no_statistics(self, norm, shape):
        target, images = make_ema_copy(norm), 3.0 + 2.0 * torch.randn(shape)
        torch.testing.assert_close(target(images), norm(images))
        assert torch.equal(target.running_mean, torch.zeros(3)) and torch.equal(
            target.running_var, torch.ones(3)
        )
        assert not torch.equal(norm.running_mean, torch.zeros(3)), "the original still learns"


class TestMoveAverage:
    @pytest.fixture
    def pair(self):
        torch.manual_seed(0)
        online, target = mlp(5, 7, 3), make_ema_copy(mlp(5, 7, 3))
        online(torch.randn(16, 5))  # moves the running statistics and the counter
        return target, online

    @pytest.mark.parametrize("decay", [0.0, 0.5, 0.996, 1.0])
    def test_weights_and_float_buffers_are_averaged_and_counters_copied(self, pair, decay):
        target, online = pair
        before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
        source = {name: tensor.clone() for name, tensor in online.state_dict().items()}
        update_ema(target, online, decay)
        for name, tensor in target.state_dict().items():
            if tensor.is_floating_point():
                expected = before[name].mul(decay).add(source[name], alpha=1.0 - decay)
            else:
                expected = source[name]
            assert torch.equal(tensor, expected), name
        assert int(target[1].num_batches_tracked) == 1
        assert all(torch.equal(tensor, source[name]) for name, tensor in online.state_dict().items())

    def test_storage_stays(self, pair):
        target, online = pair
        before = [tensor.data_ptr() for tensor in target.state_dict().values()]
        update_ema(target, online, 0.0)
        assert before == [tensor.data_ptr() for tensor in target.state_dict().values()]

    def test_modules_of_another_structure_are_refused_and_nothing_moves(self):
        target = nn.Sequential(nn.Linear(3, 3))
        before = target[0].weight.clone()
        with pytest.raises(ValueError, match="zip"):
            update_ema(target, nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), 0.5)
        assert torch.equal(target[0].weight, before)


def test_a_target_network_drops_nothing_in_training_mode_either():
    from timm.layers import DropBlock2d, DropPath, PatchDropout
    from torchvision.ops import StochasticDepth

    class Attention(nn.MultiheadAttention):
        def forward(self, x):
            return super().forward(x, x, x)[0]

    drops = [DropPath(0.5), DropBlock2d(0.5), PatchDropout(0.5), StochasticDepth(0.5, "row"), nn.Dropout(0.5)]
    drops += [nn.Dropout2d(0.5), Attention(4, 2, dropout=0.5, batch_first=True)]
    for drop in drops:
        torch.manual_seed(0)
        online = nn.Sequential(drop).train()
        images = (
            torch.randn(4, 4, 8, 8) if isinstance(drop, DropBlock2d | nn.Dropout2d) else torch.randn(4, 9, 4)
        )
        target = make_ema_copy(online).train()
        torch.manual_seed(1)
        assert torch.equal(target(images), target(images)), drop
        torch.testing.assert_close(target(images), online.eval()(images), msg=str(drop))
        assert not torch.equal(online.train()(images), online(images)), (
            f"{drop} still drops in the network itself"
        )


def test_a_transformer_with_stochastic_depth_has_a_steady_target():
    backbone = TimmBackbone("test_vit", drop_path=0.5)
    target = make_ema_copy(backbone).train()
    images = torch.randn(8, 3, 32, 32)
    assert torch.equal(target(images)[-1], target(images)[-1])
    torch.manual_seed(0)
    assert not torch.equal(backbone.train()(images)[-1], backbone(images)[-1])
