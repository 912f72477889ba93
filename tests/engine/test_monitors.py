"""The alarms: silent on every healthy network, loud on every collapsed one."""

import numpy as np
import pytest
import torch
from torch import nn

from ssl_seg.augment.views import augment
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import demo
from ssl_seg.engine.monitors import CollapseMonitor, FiniteCheck, effective_rank, embedding_std
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.errors import HealthError
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.simclr import SimCLR
from ssl_seg.methods.simsiam import SimSiam
from ssl_seg.testing import TinyBackbone


def random(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


# --- the numbers ----------------------------------------------------------------------------------


def numpy_std(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.sqrt(np.mean(unit.std(axis=0) ** 2)) * np.sqrt(x.shape[1])


def numpy_rank(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    share = values / values.sum()
    share = share[share > 1e-12]
    return np.exp(-np.sum(share * np.log(share)))


@pytest.mark.parametrize("x", [random(64, 16), random(8, 100), random(50, 12) + 2.0, random(32, 1)], ids=str)
def test_std_and_rank_equal_numpy(x):
    double = x.double().numpy()
    assert embedding_std(x).item() == pytest.approx(numpy_std(double), abs=1e-5)
    assert effective_rank(x).item() == pytest.approx(numpy_rank(double), rel=1e-4)


def test_std_is_near_one_for_random_directions_and_zero_for_one():
    assert embedding_std(random(512, 64)).item() == pytest.approx(1.0, abs=0.01)
    assert embedding_std(torch.ones(512, 64)).item() == pytest.approx(0.0, abs=1e-5)


def test_std_does_not_depend_on_the_length_of_the_embeddings():
    x = random(64, 16)
    lengths = 10 ** random(64, 1, seed=1)
    torch.testing.assert_close(embedding_std(x * lengths), embedding_std(x))


@pytest.mark.parametrize("rank", [1, 2, 5, 10])
def test_rank_of_as_many_equal_directions(rank):
    """Rows +e_i and -e_i, as often each: the singular values are equal, the mean is 0."""
    axes = torch.eye(16)[:rank].repeat(4, 1)
    assert effective_rank(torch.cat([axes, -axes])).item() == pytest.approx(rank, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_rank_is_at_most_that_of_the_matrix(rank):
    x = random(64, rank) @ random(rank, 32, seed=1)
    assert effective_rank(x).item() <= rank + 1e-2
    assert effective_rank(random(6, 32)).item() <= 5.0 + 1e-4, "six images span five dimensions"


def test_half_precision_is_measured_in_single():
    x = random(64, 16).bfloat16()
    assert embedding_std(x).dtype == effective_rank(x).dtype == torch.float32
    torch.testing.assert_close(effective_rank(x), effective_rank(x.float()))


# --- the alarm ------------------------------------------------------------------------------------

COLLAPSED = {
    "constant": torch.ones(32, 16),
    "zero": torch.zeros(32, 16),
    "constant and a little noise": random(1, 16) + 1e-4 * random(32, 16, seed=1),
    "one line": random(32, 1) @ random(1, 16, seed=1),
    "one line, four images": random(4, 1) @ random(1, 16, seed=1),
    "one line and a little noise": random(32, 1) @ random(1, 16, seed=1) + 1e-3 * random(32, 16, seed=2),
}


@pytest.mark.parametrize("embedding", COLLAPSED.values(), ids=COLLAPSED)
def test_it_stops_a_collapsed_run_after_its_patience(embedding):
    alarm = CollapseMonitor(every_n_steps=10, patience=3)
    alarm.update(embedding, 9)
    alarm.update(embedding, 19)
    with pytest.raises(HealthError, match="the representation has collapsed: embedding std") as error:
        alarm.update(embedding, 29)
    assert error.value.code == 5
    assert error.value.where == "step 30, 3 checks in a row"
    assert "--on-collapse ignore" in error.value.next


def test_one_healthy_look_in_between_starts_again():
    alarm = CollapseMonitor(patience=2)
    for step in range(10):
        alarm.update(torch.ones(32, 16) if step % 2 else random(32, 16), step)
    assert alarm.num_alerts == 1


@pytest.mark.parametrize("shape", [(2, 8), (3, 8), (4, 8), (5, 256), (8, 4), (64, 128), (256, 2)])
def test_it_is_silent_on_random_embeddings_of_any_batch_size(shape):
    alarm = CollapseMonitor(patience=1)
    for seed in range(50):
        numbers = alarm.update(random(*shape, seed), seed)
    assert set(numbers) == {"spread", "rank"}


def test_it_looks_at_every_nth_step():
    assert [step for step in range(12) if CollapseMonitor(every_n_steps=5).should_check(step)] == [4, 9]


# --- on real networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_cache(tmp_path_factory):
    return open_image_cache(demo("64", ""), 32, tmp_path_factory.mktemp("stores"))


def train(method, image_cache, *, steps, lr, batch_size, alarm):
    """Train on the demo's images and look at every step; how many steps were done."""
    method.train()
    optimizer = build_optimizer("adamw", build_param_groups(method, 1e-4), lr)
    for step in range(steps):
        rows = torch.randint(64, (batch_size,), generator=torch.Generator().manual_seed(step))
        images, sizes = image_cache.images[rows], image_cache.sizes[rows]
        out = method(augment(images, method.views, sizes, rows, seed=0, epoch=step, size=32))
        alarm.update(out["embedding"].detach(), step)
        out["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step((step + 1) / steps)


@pytest.mark.parametrize("batch_size", [2, 4, 16])
@pytest.mark.parametrize(
    "build",
    [
        lambda backbone: BYOL(backbone, hidden=64, dimensions=32),
        lambda backbone: SimCLR(backbone, hidden=64, dimensions=32),
        lambda backbone: SimSiam(backbone, dimensions=64, bottleneck=16),
    ],
    ids=["byol", "simclr", "simsiam"],
)
def test_it_is_silent_from_the_first_step_of_a_healthy_run(build, batch_size, image_cache):
    torch.manual_seed(0)
    method = build(TinyBackbone())
    train(method, image_cache, steps=30, lr=1e-3, batch_size=batch_size, alarm=CollapseMonitor(patience=3))


def without_predictor():
    """BYOL's loss has a trivial solution; without the predictor it is found (table 5b of the paper)."""
    method = BYOL(TinyBackbone(), hidden=32, dimensions=16, decay=0.9, last_norm=False)
    method.predictor = nn.Identity()
    return method, 0.3


class PullsTogether(BYOL):
    """Every image is to look like the first."""

    def training_step(self, views):
        out = super().training_step(views)
        unit = nn.functional.normalize(out["embedding"], dim=1)
        return out | {"loss": (unit - unit[:1]).square().sum(dim=1).mean()}


@pytest.mark.parametrize(
    "build",
    [without_predictor, lambda: (PullsTogether(TinyBackbone(), hidden=32, dimensions=16), 0.05)],
    ids=["byol without predictor", "all pulled together"],
)
def test_it_stops_a_run_that_collapses(build, image_cache):
    torch.manual_seed(0)
    method, lr = build()
    with pytest.raises(HealthError, match="the representation has collapsed"):
        train(method, image_cache, steps=150, lr=lr, batch_size=16, alarm=CollapseMonitor(patience=3))


# --- finite ---------------------------------------------------------------------------------------

WHERE = "step 7, epoch 2, lr 0.001"


def parameters(*gradients):
    made = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return [*made, nn.Parameter(torch.zeros(3))]  # the last has no gradient


def test_it_passes_finite_numbers_and_gives_the_norm_of_all_gradients():
    check = FiniteCheck()
    norm = check.launch(torch.tensor(1.5), parameters([3.0, 0.0], [0.0, 4.0]))
    check.wait(WHERE)
    assert norm.item() == pytest.approx(5.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_the_run(loss):
    check = FiniteCheck()
    check.launch(torch.tensor(loss), parameters([1.0]))
    with pytest.raises(HealthError, match=f"the loss is {loss}; weights were not updated") as error:
        check.wait(WHERE)
    assert error.value.where == WHERE
    assert error.value.code == 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stops_the_run(bad):
    check = FiniteCheck()
    check.launch(torch.tensor(1.0), parameters([1.0, 2.0], [0.0, bad]))
    with pytest.raises(HealthError, match=f"the gradient norm is {bad}") as error:
        check.wait(WHERE)
    assert error.value.where == WHERE


def test_without_gradients_the_norm_is_zero():
    check = FiniteCheck()
    assert check.launch(torch.tensor(1.0), [nn.Parameter(torch.zeros(2))]).item() == 0.0
    check.wait(WHERE)
