"""A learning rate belongs to one optimizer."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from ssl_seg.engine.optim import OPTIMIZERS, scale_lr
from ssl_seg.engine.recipe import merged, resolve
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.classify import CLASSIFICATION
from ssl_seg.workflows.segment import SEGMENTATION


def given(optimizer=None, lr=None, weight_decay=None, warmup=None, batch_size=64):
    return dict(locals())


@dataclass
class Found:
    name: str
    recipe: dict


def recipes():
    registry = load_plugins().registry
    found = [
        Found(name, getattr(registry.factory("ssl", name), "recipe", {})) for name in registry.names("ssl")
    ]
    for task in (CLASSIFICATION, SEGMENTATION):
        found += [Found(task.command, task.recipe)]
        for more in (task.batchnorm_recipe, task.frozen_recipe):
            found.append(Found(task.command, merged(task.recipe, more)))
    return found


@pytest.mark.parametrize("found", recipes(), ids=lambda found: found.name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_has_its_own_rate_or_asks_for_one(found, optimizer):
    own = found.recipe.get("optimizer", "adamw") == optimizer
    stated = found.recipe if own else found.recipe.get(optimizer, {})
    if "lr" not in stated and not (own and not found.recipe):
        with pytest.raises(UsageError, match=f"{found.name} has no learning rate for {optimizer}") as caught:
            resolve(given(optimizer), found.recipe, found.name)
        assert caught.value.next.startswith("--lr ")
        return
    suits = resolve(given(optimizer), found.recipe, found.name)
    assert suits["lr"] == scale_lr(optimizer, stated.get("lr", 1e-3), 64)
    assert suits["weight_decay"] == stated.get("weight_decay", 1e-4)
    assert suits["optimizer"] == optimizer
    low, high = {"adamw": (1e-4, 1e-2), "adam": (1e-4, 1e-2), "sgd": (1e-3, 0.1), "lars": (0.02, 0.5)}[
        optimizer
    ]
    assert low <= suits["lr"] <= high


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION], ids=lambda task: task.command)
def test_what_differs_for_a_norm_or_a_head_adds_no_optimizer(task):
    """Otherwise what is asked for before images are read would not be what holds afterwards."""
    for more in (task.batchnorm_recipe, task.frozen_recipe):
        assert {key for key in more if key in OPTIMIZERS} <= task.recipe.keys()


def test_byol_with_lars_learns_at_the_papers_rate():
    suits = resolve(given("lars"), BYOL.recipe, "byol")
    assert (suits["lr"], suits["weight_decay"]) == (pytest.approx(0.2 * 64 / 256), 1.5e-6)
    assert resolve(given(), BYOL.recipe, "byol")["lr"] == 1e-3


def test_what_is_given_holds():
    suits = resolve(given("lars", 0.3, 0.0, 0.0), {}, "mine")
    assert suits == {"optimizer": "lars", "lr": 0.3, "weight_decay": 0.0, "warmup": 0.0}
    assert resolve(given("lars", lr=0.3), {}, "mine")["weight_decay"] == 1e-6
    assert resolve(given(lr=0.0), BYOL.recipe, "byol")["lr"] == 0.0


def test_a_recipe_of_another_optimizer_without_a_rate_asks_for_one():
    with pytest.raises(UsageError, match="mine has no learning rate for lars, only for adamw"):
        resolve(given(), {"optimizer": "lars"}, "mine")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"weight_deca": 1}, "did you mean 'weight_decay'"),
        ({"lars": {"rate": 1}}, "unknown key 'lars.rate'"),
        ({"lars": 0.2}, "'lars' must be a table"),
        ({"lr": "1e-3"}, "lr must be a number, got '1e-3'"),
        ({"sgd": {"lr": float("nan")}}, "sgd.lr must be a number"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"betas": (0.9,)}, r"betas must be two numbers in \[0, 1\)"),
        ({"momentum": 0.9}, "momentum is none of adamw's"),
        ({"sgd": {"lr": 1.0, "betas": (0.9, 0.95)}}, "sgd.betas is none of sgd's"),
        ({"optimizer": "sgd", "lr": 1.0, "momentum": 1.0}, r"momentum must be a number in \[0, 1\)"),
        ({"schedule": "cosin"}, "schedule must be one of cosine, constant, poly"),
        ({"adamw": {"clip": -1}}, "adamw.clip must be a number"),
        ({"weight_decay_ends": 0.4}, "did you mean 'weight_decay_end'"),
        ({"lr": 0.1, "lr_end": 0.2}, "lr_end must be at most lr"),
        ({"lr_end": 0.2}, "lr_end must be at most lr"),
    ],
)
def test_a_recipe_that_says_what_nobody_reads_is_refused(recipe, said):
    with pytest.raises(PluginError, match=said):
        resolve(given(), recipe, "mine")


DINO = {
    "optimizer": "adamw",
    "lr": 5e-4,
    "lr_end": 1e-6,
    "weight_decay": 0.04,
    "weight_decay_end": 0.4,
    "betas": (0.9, 0.95),
    "warmup": 0.1,
    "clip": 3.0,
    "sgd": {"lr": 0.03, "momentum": 0.95, "clip": 0.0, "schedule": "constant", "warmup": 0.0},
}
OPEN = ("lr_end", "weight_decay_end", "schedule", "momentum", "betas", "clip")


def everything(**typed):
    keys = typed.keys() & OPEN
    return {**given(**{k: v for k, v in typed.items() if k not in keys}), **dict.fromkeys(OPEN), **typed}


def test_a_recipe_says_how_a_run_ends_and_how_the_optimizer_remembers():
    own = resolve(everything(), DINO, "mine")
    assert own == {
        "optimizer": "adamw",
        "lr": 5e-4,
        "lr_end": 1e-6,
        "weight_decay": 0.04,
        "weight_decay_end": 0.4,
        "momentum": None,
        "betas": "0.9,0.95",
        "warmup": 0.1,
        "schedule": "cosine",
        "clip": 3.0,
    }
    other = resolve(everything(optimizer="sgd"), DINO, "mine")
    assert other == {
        "optimizer": "sgd",
        "lr": 0.03 / 4,
        "lr_end": None,
        "weight_decay": 1e-4,
        "weight_decay_end": None,
        "momentum": 0.95,
        "betas": None,
        "warmup": 0.0,
        "schedule": "constant",
        "clip": 0.0,
    }


def test_what_is_typed_holds_over_a_recipe():
    typed = {"lr_end": 1e-5, "weight_decay_end": 0.1, "schedule": "poly", "betas": "0.8,0.9", "clip": 0.0}
    suits = resolve(everything(**typed), DINO, "mine")
    assert {key: suits[key] for key in typed} == typed
    assert resolve(everything(optimizer="lars", lr=0.1, momentum=0.5), DINO, "mine")["momentum"] == 0.5


def test_the_end_of_a_rate_is_a_share_of_its_peak():
    assert resolve(everything(lr=1e-3), DINO, "mine")["lr_end"] == pytest.approx(2e-6)
    swav = {"optimizer": "lars", "lr": 0.6, "lr_end": 0.0006}
    assert resolve(everything(batch_size=4096), swav, "mine")["lr_end"] == pytest.approx(0.0096)
    assert resolve(everything(schedule="constant"), swav, "mine")["lr_end"] is None


def test_a_weight_decay_that_is_typed_stays_unless_its_end_is_typed_too():
    assert resolve(everything(weight_decay=0.1), DINO, "mine")["weight_decay_end"] is None
    both = resolve(everything(weight_decay=0.1, weight_decay_end=0.2), DINO, "mine")
    assert (both["weight_decay"], both["weight_decay_end"]) == (0.1, 0.2)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"momentum": 0.9}, "adamw has no momentum, but betas"),
        ({"optimizer": "sgd", "betas": "0.9,0.9"}, "sgd has no betas, but momentum"),
        ({"betas": "0.9"}, "two numbers"),
        ({"betas": "0.9,1.0"}, "two numbers"),
        ({"betas": "a,b"}, "two numbers"),
        ({"lr_end": 0.1}, "final learning rate 0.1 is above the peak 0.0005"),
        ({"lr_end": 0.0, "schedule": "constant"}, "constant learning rate has no other end"),
    ],
)
def test_values_that_do_not_go_together_are_refused(typed, said):
    with pytest.raises(UsageError, match=said):
        resolve(everything(**typed), DINO, "mine")


def test_a_resumed_run_keeps_what_it_was_started_with():
    """`None` is not written: what a later version's recipe says would else hold for a run that had nothing."""
    started = {
        "optimizer": "sgd",
        "lr": 0.5,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "schedule": "poly",
        "clip": 1.0,
    }
    found = resolve(everything(), DINO, "mine", started)
    assert {key: value for key, value in found.items() if value is not None} == started


def test_tables_are_merged():
    assert merged({"lr": 1, "sgd": {"lr": 2, "weight_decay": 3}}, {"sgd": {"lr": 4}}) == {
        "lr": 1,
        "sgd": {"lr": 4, "weight_decay": 3},
    }


def test_the_page_has_the_rates_of_the_code():
    """Rates of runs.md, by line and optimizer; a rate with BatchNorm stands behind the other."""
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    lines = [
        line.strip("|\n ").split("|")
        for line in page.splitlines()
        if re.match(r"\| `(\w+)( --\w+)?` \| \d", line)
    ]
    registry = load_plugins().registry
    rows = {name: registry.factory("ssl", name).recipe for name in ("byol", "simclr", "simsiam")}
    norms = {"classify": merged(CLASSIFICATION.recipe, CLASSIFICATION.batchnorm_recipe)}
    norms["segment"] = merged(SEGMENTATION.recipe, SEGMENTATION.batchnorm_recipe)
    rows |= {"classify": CLASSIFICATION.recipe, "segment": SEGMENTATION.recipe}
    rows["classify --freeze"] = merged(CLASSIFICATION.recipe, CLASSIFICATION.frozen_recipe)
    assert {line[0].strip(" `") for line in lines} == rows.keys()
    for name, *cells in lines:
        name = name.strip(" `")
        for optimizer, cell in zip(OPTIMIZERS, [*cells, ""], strict=False):
            cell = cells[0] if "the same" in cell else cell
            stated = [
                recipe if optimizer == "adamw" else recipe.get(optimizer, {})
                for recipe in (rows[name], norms.get(name, {}))[
                    : len(re.findall(r"\d+(?:\.\d+)?(?:e-\d)?", cell)) or 1
                ]
            ]
            found = [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-\d)?", cell)]
            assert found == [table["lr"] for table in stated if "lr" in table], (name, optimizer)
