"""The settings of a run: said once by the commands, never changed afterwards."""

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest

from ssl_seg.commands.classify import classify
from ssl_seg.commands.segment import segment
from ssl_seg.commands.train import train
from ssl_seg.errors import UsageError
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig, SegmentationConfig

CONFIGS = {train: PretrainConfig, classify: ClassificationConfig, segment: SegmentationConfig}
ABOUT_THE_CALL = {"out", "config", "option", "resume", "auto_resume", "progress"}
ABOUT_THE_CALL |= {"cpu", "dry_run"}  # an alias of `device`; and what is no run


@pytest.mark.parametrize("command", CONFIGS, ids=lambda command: command.__name__)
def test_settings_are_the_parameters_of_the_command_in_their_order(command):
    parameters = inspect.signature(command).parameters
    names = [name for name in parameters if name not in ABOUT_THE_CALL]
    config = CONFIGS[command]()
    assert list(config.settings()) == [*names, "o"]
    assert {field.name for field in fields(config)} == {*names, "o", "dry_run"}
    data = names[0]
    for name in names[1:]:
        assert getattr(config, name) == parameters[name].default, name
    assert (getattr(config, data), parameters[data].default) == ("", None)


@pytest.mark.parametrize("kind", CONFIGS.values())
def test_nothing_changes_settings(kind):
    config = kind()
    with pytest.raises(FrozenInstanceError):
        config.lr = 0.1
    recipe = {"optimizer": "sgd", "lr": 0.256, "weight_decay": 0.1, "warmup": 0.0}
    resolved = config.resolved(recipe, "mine")
    assert (config.optimizer, config.lr) == (None, None)
    assert (resolved.optimizer, resolved.lr) == ("sgd", pytest.approx(0.001 * config.batch_size))
    assert type(resolved) is kind
    with pytest.raises(UsageError, match="mine has no learning rate for lars"):
        kind(optimizer="lars").resolved({}, "mine")


def test_the_user_is_asked_before_the_recipe():
    config = PretrainConfig(lr=0.5, warmup=0.0).resolved(
        {"lr": 0.1, "warmup": 0.2, "weight_decay": 0.3}, "mine"
    )
    assert (config.lr, config.warmup, config.weight_decay) == (0.5, 0.0, 0.3)


def test_options_of_one_part_are_replaced_and_the_others_keep_their_places():
    config = PretrainConfig(o={"backbone": {"stem": "small"}, "ssl": {"decay": "0.9"}})
    changed = config.with_options("backbone", {"output_stride": "8"})
    assert list(changed.o.items()) == [("backbone", {"output_stride": "8"}), ("ssl", {"decay": "0.9"})]
    assert config.o["backbone"] == {"stem": "small"}
    assert changed.with_options("backbone", {}).o == {"ssl": {"decay": "0.9"}}
    assert list(config.with_options("data", {"range": "0,1"}).o) == ["backbone", "ssl", "data"]


@pytest.mark.parametrize(
    ("config", "size", "canvas"),
    [
        (PretrainConfig(image_size=64), 64, 128),
        (PretrainConfig(image_size=64, canvas=96), 64, 96),
        (ClassificationConfig(), 128, 256),
        (ClassificationConfig(image_size=32), 32, 64),
        (SegmentationConfig(canvas=512), 256, 512),
    ],
)
def test_the_canvas_leaves_room_for_crops(config, size, canvas):
    assert (config.size, config.canvas_size) == (size, canvas)


def test_masks_are_not_reduced_unless_it_is_asked_for():
    assert SegmentationConfig().canvas_size > 4096
