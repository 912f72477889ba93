"""Groups, optimizers and schedules against torch, timm, and the LARS paper in NumPy."""

import math

import numpy as np
import pytest
import timm
import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from ssl_seg.base import ParamGroup
from ssl_seg.engine.optim import (
    OPTIMIZERS,
    build_optimizer,
    build_param_groups,
    lr_at_step,
    scale_lr,
    set_lr,
    undecayed,
    weight_decay_at_step,
)
from ssl_seg.engine.schedule import Schedule, set_rates
from ssl_seg.errors import UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.testing import TinyBackbone

# --- groups ---------------------------------------------------------------------------------------


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.LayerNorm(5),
        nn.Flatten(),
        nn.Linear(100, 6),
        nn.GroupNorm(2, 6),
    )


def timm_groups(net, weight_decay):
    return param_groups_weight_decay(net, weight_decay, no_weight_decay_list=net.no_weight_decay())


def names_of(module, group):
    return {name for name, p in module.named_parameters() if any(p is member for member in group["params"])}


def test_biases_and_norms_do_not_decay():
    module = net()
    groups = {group["weight_decay"]: group for group in build_param_groups(module, 0.3)}
    assert names_of(module, groups[0.3]) == {"0.weight", "4.weight"}
    assert groups[0.3]["adapt"] and not groups[0.0]["adapt"]
    rest = {"0.bias", "1.weight", "1.bias", "2.weight", "2.bias", "4.bias", "5.weight", "5.bias"}
    assert names_of(module, groups[0.0]) == rest


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s"],
)
def test_what_timm_says_must_not_decay_does_not(name):
    """Class tokens, positions and tables of relative positions, wherever the network is in what is trained."""
    net = timm.create_model(name, num_classes=0)
    decaying = {id(p) for group in timm_groups(net, 0.3) if group["weight_decay"] for p in group["params"]}
    spared = [p for p in net.parameters() if p.ndim > 1 and id(p) not in decaying]
    assert spared, "the network names some"
    module = nn.ModuleDict({"backbone": nn.ModuleDict({"net": net}), "head": nn.Linear(3, 3)})
    groups = build_param_groups(module, 0.3)
    ours = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert ours == decaying | {id(module["head"].weight)}
    assert all(group["adapt"] == (group["weight_decay"] > 0) for group in groups)


def test_a_method_can_name_what_must_not_decay():
    method = BYOL(TinyBackbone(), hidden=8, dimensions=4)
    method.no_weight_decay = lambda: {"projector.0.weight", "nowhere"}
    assert undecayed(method) == ["projector.0.weight"]
    found = {
        id(p) for group in build_param_groups(method, 0.1) if group["weight_decay"] for p in group["params"]
    }
    assert id(method.projector[0].weight) not in found
    everything = build_param_groups(method, 0.1, spared=())
    assert id(method.projector[0].weight) in {id(p) for p in everything[0]["params"]}


def test_every_trainable_parameter_is_in_one_group_and_a_frozen_one_in_none():
    method = BYOL(TinyBackbone(), hidden=8, dimensions=4)
    method.backbone.one.requires_grad_(False)
    taken = [id(p) for group in build_param_groups(method, 0.1) for p in group["params"]]
    assert len(taken) == len(set(taken))
    assert set(taken) == {id(p) for p in method.parameters() if p.requires_grad}
    assert {id(p) for p in method.target_backbone.parameters()}.isdisjoint(taken)


def test_a_parameter_with_two_names_is_taken_once():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    assert sum(len(group["params"]) for group in build_param_groups(module, 0.1)) == 3


def test_without_weight_decay_the_weights_still_adapt():
    groups = build_param_groups(net(), 0.0)
    assert [(group["adapt"], group["weight_decay"]) for group in groups] == [(True, 0.0), (False, 0.0)]


def test_a_scale_holds_for_the_parameters_whose_name_starts_with_its_key():
    module = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer("sgd", build_param_groups(module, 0.1, {"backbone": 0.1}), lr=1.0)
    set_lr(optimizer, 0.5)
    rates = {name: g["lr"] for g in optimizer.param_groups for name in names_of(module, g)}
    assert rates == pytest.approx(
        {"backbone.weight": 0.05, "backbone.bias": 0.05, "head.weight": 0.5, "head.bias": 0.5}
    )


# --- optimizers -----------------------------------------------------------------------------------


def train(module, optimizer, steps):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("adamw", lambda groups: torch.optim.AdamW(groups, lr=0.01, fused=False, foreach=False)),
        ("adam", lambda groups: torch.optim.Adam(groups, lr=0.01, fused=False, foreach=False)),
        ("sgd", lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9, fused=False, foreach=False)),
    ],
)
def test_the_optimizer_is_torchs(name, oracle):
    mine, theirs = net(), net()
    train(mine, build_optimizer(name, build_param_groups(mine, 0.1), lr=0.01), 5)
    train(
        theirs,
        oracle([{k: g[k] for k in ("params", "weight_decay")} for g in build_param_groups(theirs, 0.1)]),
        5,
    )
    for (key, a), b in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6, msg=key)


def numpy_lars(weight, gradient, velocity, lr, weight_decay, *, adapt, momentum=0.9, trust=0.001):
    """Algorithm 1 of You, Gitman, Ginsburg 2017; momentum SGD where it does not adapt."""
    ratio = 1.0
    if adapt:
        norm, slope = np.linalg.norm(weight), np.linalg.norm(gradient)
        ratio = trust * norm / (slope + weight_decay * norm)
    velocity = momentum * velocity + lr * ratio * (gradient + weight_decay * weight)
    return weight - velocity, velocity


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_lars_is_that_of_the_paper(weight_decay):
    module = net().double()
    groups = build_param_groups(module, weight_decay)
    optimizer = build_optimizer("lars", groups, lr=0.7)
    decays = {id(p) for group in groups if group["adapt"] for p in group["params"]}
    assert len(decays) == 2
    weights = {name: p.detach().numpy().copy() for name, p in module.named_parameters()}
    velocities = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for _ in range(3):
        for index, (name, parameter) in enumerate(module.named_parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            adapt = id(parameter) in decays
            weights[name], velocities[name] = numpy_lars(
                weights[name],
                parameter.grad.numpy(),
                velocities[name],
                0.7,
                weight_decay if adapt else 0.0,
                adapt=adapt,
            )
        optimizer.step()
        for name, parameter in module.named_parameters():
            np.testing.assert_allclose(parameter.detach().numpy(), weights[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("wrong", "right"), [("adanw", "adamw"), ("larz", "lars"), ("sdg", "sgd")])
def test_an_unknown_optimizer_is_refused_with_the_nearest_name(wrong, right):
    with pytest.raises(UsageError, match=f"no optimizer '{wrong}'; did you mean '{right}'") as error:
        build_optimizer(wrong, build_param_groups(net(), 0.1), lr=0.1)
    assert error.value.next is not None and "adamw, adam, sgd, lars" in error.value.next


# --- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_a_rate_for_256_images_grows_in_proportion_where_steps_are_gradients(optimizer):
    assert scale_lr(optimizer, 0.2, 1024) == pytest.approx(0.8)
    assert scale_lr(optimizer, 0.2, 256) == pytest.approx(0.2)
    assert scale_lr(optimizer, 0.2, 32) == pytest.approx(0.025)


def test_the_adam_family_is_scaled_less():
    for optimizer in ("adam", "adamw"):
        assert scale_lr(optimizer, 1e-3, 256) == 1e-3
        assert 1e-3 / 8 < scale_lr(optimizer, 1e-3, 32) <= 1e-3


def timm_rates(total, warmup, peak):
    """timm's rates; in its warm-up, step t (from 0) has the share t / warmup of the peak."""
    from timm.scheduler import CosineLRScheduler

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=total - warmup, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False
    )
    rates = []
    for step in range(total + 1):
        scheduler.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(("total", "warmup"), [(40, 0), (40, 1), (40, 10), (7, 3)])
def test_cosine_is_timms_and_the_warm_up_one_step_ahead(total, warmup):
    ours, theirs = (
        [lr_at_step(step, total, 0.3, warmup) for step in range(total)],
        timm_rates(total, warmup, 0.3),
    )
    assert ours[:warmup] == pytest.approx(theirs[1 : warmup + 1])
    assert ours[warmup:] == pytest.approx(theirs[warmup:total])


@pytest.mark.parametrize("schedule", ["cosine", "poly", "constant"])
def test_the_last_step_of_the_warm_up_has_the_peak(schedule):
    ours = [lr_at_step(step, 50, 2.0, 10, schedule) for step in range(50)]
    assert ours[0] == pytest.approx(0.2), "the first step learns, too"
    assert np.diff(ours[:10]) == pytest.approx(np.full(9, 0.2))
    assert ours[9] == ours[10] == max(ours) == 2.0


def test_poly_is_its_formula():
    ours = [lr_at_step(step, 30, 2.0, 5, "poly") for step in range(5, 30)]
    assert ours == pytest.approx([2.0 * (1 - k / 25) ** 0.9 for k in range(25)])


def test_constant_stays():
    assert {lr_at_step(step, 30, 2.0, 5, "constant") for step in range(5, 30)} == {2.0}


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_a_schedule_ends_at_zero(schedule):
    assert lr_at_step(30, 30, 2.0, 5, schedule) == pytest.approx(0.0, abs=1e-12)
    assert 0.0 < lr_at_step(29, 30, 2.0, 5, schedule) < 0.2


@pytest.mark.parametrize("schedule", ["cosine", "poly", "constant"])
def test_a_run_that_is_all_warm_up_has_rates(schedule):
    rates = [lr_at_step(step, 3, 1.0, 3, schedule) for step in range(3)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert math.isfinite(lr_at_step(0, 1, 1.0, 0, schedule))


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_a_schedule_may_end_above_zero(schedule):
    """The fall is that to zero, shrunk and lifted."""
    for step in range(10, 51):
        fall = lr_at_step(step, 50, 1.0, 10, schedule)
        assert lr_at_step(step, 50, 2.0, 10, schedule, 0.5) == pytest.approx(0.5 + 1.5 * fall)
    assert lr_at_step(3, 50, 2.0, 10, schedule, 0.5) == lr_at_step(3, 50, 2.0, 10, schedule)
    assert lr_at_step(50, 50, 2.0, 10, schedule, 0.5) == pytest.approx(0.5)


def test_a_rate_that_falls_to_zero_has_the_bits_it_had():
    for step in range(10, 50):
        assert lr_at_step(step, 50, 0.3, 10) == 0.3 * 0.5 * (1.0 + math.cos(math.pi * ((step - 10) / 40)))
        assert lr_at_step(step, 50, 0.3, 10, "poly") == 0.3 * (1.0 - (step - 10) / 40) ** 0.9


def test_weight_decay_rises_along_half_a_cosine_where_there_is_any():
    from timm.scheduler import CosineLRScheduler

    stand_in = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.04)
    timms = CosineLRScheduler(stand_in, t_initial=20, lr_min=0.4, t_in_epochs=False)
    module = parts()
    optimizer = build_optimizer("adamw", build_param_groups(module, 0.04), 0.1)
    plan = Schedule(
        20, 5, 4, lambda step: 0.1, weight_decay_at=lambda s: weight_decay_at_step(s, 20, 0.04, 0.4)
    )
    for step in range(20):
        timms.step_update(step)
        assert set_rates(optimizer, plan, step) == 0.1
        decays = {n: g["weight_decay"] for g in optimizer.param_groups for n in names_of(module, g)}
        assert decays["backbone.weight"] == pytest.approx(stand_in.param_groups[0]["lr"])
        assert decays["backbone.bias"] == 0.0
    assert weight_decay_at_step(0, 20, 0.04, 0.4) == pytest.approx(0.04)


def test_an_optimizer_is_given_its_momentum_and_betas():
    assert build_optimizer("adamw", build_param_groups(net(), 0.1), 0.1, betas=(0.8, 0.7)).defaults[
        "betas"
    ] == (
        0.8,
        0.7,
    )
    for name in ("sgd", "lars"):
        assert build_optimizer(name, build_param_groups(net(), 0.1), 0.1, 0.3).defaults["momentum"] == 0.3


# --- what a method declares of its parts ------------------------------------------------------------


def parts():
    return nn.ModuleDict({name: nn.Linear(2, 2) for name in ("backbone", "predictor", "prototypes")})


def rates_of(module, optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in names_of(module, group)}


def test_a_constant_rate_is_the_peak_from_the_first_step_to_the_last():
    module = parts()
    groups = build_param_groups(
        module, 0.1, declared=[ParamGroup("predictor.", constant_lr=True, lr_scale=2.0)]
    )
    optimizer = build_optimizer("sgd", groups, lr=1.0)
    for step in (0, 5, 19):
        rate = lr_at_step(step, 20, 0.3, 4)
        set_lr(optimizer, rate, 0.3, step / 20)
        rates = rates_of(module, optimizer)
        assert rates["backbone.weight"] == rates["prototypes.bias"] == rate != 0.3
        assert rates["predictor.weight"] == rates["predictor.bias"] == 0.6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frozen_part_neither_moves_nor_decays_until_its_time(name):
    torch.manual_seed(0)
    module = parts()
    groups = build_param_groups(module, 0.5, declared=[ParamGroup("prototypes.", frozen_until=0.3)])
    optimizer = build_optimizer(name, groups, lr=1.0)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    for step in range(10):
        optimizer.zero_grad()
        sum(part(torch.ones(1, 2)).square().sum() for part in module.values()).backward()
        set_lr(optimizer, 0.1, 0.1, step / 10)
        optimizer.step()
        moved = {
            key.split(".")[0] for key, value in module.state_dict().items() if not value.equal(before[key])
        }
        assert ("prototypes" in moved) == (step >= 3), step
        assert {"backbone", "predictor"} <= moved


def test_a_part_may_say_whether_it_decays():
    module = parts()
    declared = [
        ParamGroup("predictor.", weight_decay=False),
        ParamGroup("prototypes.bias", weight_decay=True),
    ]
    groups = build_param_groups(module, 0.1, declared=declared)
    decays = {name: group["weight_decay"] for group in groups for name in names_of(module, group)}
    chosen = {name for name, decay in decays.items() if decay}
    assert chosen == {"backbone.weight", "prototypes.weight", "prototypes.bias"}
    plain = {name: g["weight_decay"] for g in build_param_groups(module, 0.1) for name in names_of(module, g)}
    assert plain["predictor.weight"] == 0.1 and plain["prototypes.bias"] == 0.0


def test_a_prefix_that_fits_nothing_is_an_error():
    with pytest.raises(TypeError, match=r"begins with 'predictr\.'"):
        build_param_groups(parts(), 0.1, declared=[ParamGroup("predictr.")])


def test_groups_without_a_declaration_are_what_they_were():
    """Old checkpoints hold these keys and no others."""
    for group in build_param_groups(parts(), 0.1):
        assert group.keys() == {"params", "weight_decay", "scale", "adapt"}
