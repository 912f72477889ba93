"""Where the values of flags come from: the shell, then a TOML file, then the defaults."""

from inspect import signature

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.faults import grammar
from ssl_seg.commands.train import train
from ssl_seg.engine.run_settings import check_resume_config
from ssl_seg.errors import UsageError
from ssl_seg.workflows.flag_values import read_options


def settings_of(*words):
    """What `train` would be called with."""
    seen = {}

    def spy(**values):
        seen.update(values)

    spy.__signature__ = signature(train)
    spy.__annotations__ = train.__annotations__
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(spy)
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "f.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_file_gives_defaults_and_the_shell_wins(toml):
    path = toml(
        'data = "photos"\nepochs = 7\nbatch-size = 32\nlr = 1e-3\ncompile = true\nclip = 1\nout = "r"\n'
    )
    seen = settings_of("--config", path, "--epochs", "9")
    assert (seen["epochs"], seen["batch_size"], seen["lr"], seen["clip"]) == (9, 32, 0.001, 1.0)
    assert seen["compile"] is True
    assert seen["data"] == "photos"
    assert str(seen["out"]) == "r"
    assert seen["seed"] == 0
    assert settings_of("other", "--config", path)["data"] == "other"
    assert settings_of("--epochs", "9", "--config", path)["epochs"] == 9


def test_options_of_a_file_and_of_the_shell_are_joined_and_the_shell_wins(toml):
    path = toml("o.ssl.decay = 0.9\no.ssl.hidden = 64\n[o.data]\nsizes = [1, 2]\nfast = true\nname = 'x y'\n")
    seen = settings_of("--config", path, "-o", "ssl.decay=0.5", "-o", "backbone.stem=small")
    assert read_options(seen["option"]) == {
        "ssl": {"decay": "0.5", "hidden": "64"},
        "data": {"sizes": "[1, 2]", "fast": "true", "name": "x y"},
        "backbone": {"stem": "small"},
    }


def test_a_byte_order_mark_is_passed_over(toml):
    assert settings_of("--config", toml(b"\xef\xbb\xbfepochs = 3\n"))["epochs"] == 3


def test_the_record_of_a_run_is_passed_over(toml):
    assert settings_of("--config", toml('epochs = 3\n[record]\ndevice = "CPU"\n'))["epochs"] == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed = 1\nepochz = 3\n", ["unknown key 'epochz'", "did you mean 'epochs'", "line 2"]),
        ("[epoch]\nx = 1\n", ["unknown key 'epoch'", "did you mean 'epochs'", "line 1"]),
        ("config = 'x'\n", ["unknown key 'config'"]),
        ("resume = true\n", ["unknown key 'resume'"]),
        ("[trainer]\nepochs = 3\n", ["unknown key 'trainer'", "line 1"]),
        ("epochs = 3\nepochs = 4\n", ["not valid TOML", "line 2"]),
        ("epochs = \n", ["not valid TOML", "line 1"]),
        ("name = 'caf\xe9'".encode("latin-1"), ["not valid TOML", "utf-8"]),
        ("epochs.x = 3\n", ["'epochs' takes one value", "line 1"]),
        ("epochs = [3]\n", ["'epochs' takes one value", "line 1"]),
        ("seed = 1\no = 3\n", ["'o' must be a table", "line 2"]),
        ("o.ssl = 3\n", ["'o.ssl' must be a table", "line 1"]),
        ("o.sll.decay = 3\n", ["no part 'sll'", "did you mean 'ssl'"]),
        ("seed = 1\nepochs = 'many'\n", ["'epochs': ", "valid integer", "'many'", "line 2"]),
        ("epochs = 2.5\n", ["valid integer", "got '2.5'", "line 1"]),
        ("epochs = true\n", ["valid integer", "got 'true'", "line 1"]),
        ("epochs = 0\n", ["'epochs': ", "got '0'", "line 1"]),
        ("schedule = 'line'\n", ["'schedule': ", "cosine", "got 'line'", "line 1"]),
        ("lr = 'fast'\n", ["'lr': ", "valid", "got 'fast'", "line 1"]),
        ("compile = 'perhaps'\n", ["valid boolean", "got 'perhaps'", "line 1"]),
        ("batch-size = 1\n", ["'batch_size': ", "got '1'", "line 1"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_few_lines(cli, toml, tmp_path, text, parts):
    code, _, err = cli("train", "demo:32", "--out", tmp_path / "run", "--config", toml(text))
    assert code == 2
    assert len(err.splitlines()) <= 12
    assert "Traceback" not in err
    for part in parts:
        assert part in err
    assert not (tmp_path / "run").exists()


def test_a_missing_file_and_a_folder_are_usage_errors(cli, tmp_path):
    for path, what in ((tmp_path / "none.toml", "no such file:"), (tmp_path, "cannot read")):
        code, _, err = cli("train", "demo:32", "--config", path)
        assert code == 2
        assert f"{what} {path}" in err and "\nnext: ls" in err


@pytest.mark.parametrize("text", ["decay=1", "ssl.decay", "ssl=1", "=", "ssl.=3", "ssl.a.b=3"])
def test_a_malformed_option(text):
    with pytest.raises(UsageError, match="not an option"):
        read_options([text])


def test_every_whole_number_has_a_largest():
    """A larger one would end as a bug, deep in torch or in NumPy."""
    flags = [
        (command, each)
        for command, found in grammar.commands().items()
        for each in found
        if each.kind == "number" and each.whole
    ]
    assert len(flags) > 30
    without = {each.flag for _, each in flags if each.largest is None}
    assert without == {"--batch-size"}  # which may be `auto`, and has its largest in its own parser


def test_a_batch_size_that_no_machine_holds(cli):
    code, _, err = cli("train", "demo:8", "--batch-size", 2**63)
    assert code == 2 and "a number from 2 to" in err


@pytest.mark.parametrize("flag", ["--seed", "--image-size", "--epochs"])
def test_a_number_that_no_machine_holds(flag, cli):
    for number in (2**63, 2**64, 10**30):
        code, _, err = cli("train", "demo:8", flag, number)
        assert code == 2 and f"{flag}': Input should be less than" in err, err


def test_options():
    assert read_options([]) == {}
    assert read_options(["ssl.a=b=c", "ssl.d=", "ssl.a=e"]) == {"ssl": {"a": "e", "d": ""}}


def test_a_resumed_run_cannot_change_what_is_computed():
    stored = {"epochs": 3, "lr": 0.1, "compile": False}
    check_resume_config({"epochs": 3, "lr": None, "compile": True, "cache": "x"}, stored)
    with pytest.raises(UsageError) as caught:
        check_resume_config({"epochs": 4, "lr": 0.1}, stored)
    assert caught.value.where == "epochs: was 3, now 4"


def test_flags_that_have_moved_are_found_with_a_warning():
    from ssl_seg.commands import flags, training_flags

    with pytest.warns(DeprecationWarning, match="training_flags"):
        assert flags.Out is training_flags.Out
    with pytest.raises(AttributeError):
        flags.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("train", "demo:16"), "head.rates=1"),
        (("classify", "demo:16"), "views.hue=0"),
        (("segment", "demo_masks:8"), "ssl.decay=0.9"),
        (("evaluate", "run", "demo:16"), "backbone.stem=small"),
        (("predict", "run", "demo:16"), "head.rates=1"),
        (("embed", "run", "demo:16"), "metric.k=3"),
        (("pack", "demo:16"), "val.skip=1"),
        (("figure", "views", "demo:16"), "head.rates=1"),
        (("figure", "views", "demo:16", "--augment", "light"), "views.hue=0"),
        (("figure", "architecture", "resnet18"), "data.images=x"),
    ],
)
def test_an_option_of_a_part_that_a_command_has_not_would_change_nothing(cli, tmp_path, words, option):
    out = tmp_path / ("out.npz" if words[0] == "embed" else "out.csv")
    code, _, err = cli(*words, "-o", option, "--out", out)
    assert code == 2 and f"no part '{option.partition('.')[0]}' has options here" in err, err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("train", "demo:16"), "probe"),
        (("classify", "demo:16"), "val"),
        (("segment", "demo_masks:8", "--val", "demo_masks:4"), "extra"),
    ],
)
def test_an_option_of_images_that_are_not_given_would_change_nothing(cli, tmp_path, words, part):
    code, _, err = cli(*words, "-o", f"{part}.k=1", "--out", tmp_path / "run")
    assert code == 2 and f"-o {part}.k needs --{part}\nnext: --{part} FOLDER" in err, err
