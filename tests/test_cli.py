"""The command line from outside: what it imports, how it fails, commands of other packages."""

import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "timm",
    "torchvision",
    "accelerate",
    "pydantic",
    "rich",
    "PIL",
    "matplotlib",
    "sklearn",
    "jinja2",
)


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import ssl_seg.cli",
        "import ssl_seg",
        "import sys; sys.argv = ['ssl-seg', '--help']\nfrom ssl_seg.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["cli", "package", "help"],
)
def test_nothing_heavy_is_imported(code):
    done = python(f"{code}\nimport sys\nprint('loaded', [name for name in {HEAVY} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "20"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
    ids=lambda e: next(iter(e)),
)
def test_help_in_poor_surroundings(environment):
    done = python(
        "import sys; sys.argv = ['ssl-seg', 'train', '--help']\nfrom ssl_seg.cli import main; main()",
        **environment,
    )
    assert done.returncode == 0, done.stderr
    assert "--batch-size" in done.stdout
    assert "\x1b" not in done.stdout


def test_version(cli):
    from importlib.metadata import version

    assert cli("--version") == (0, version("ssl-seg") + "\n", "")


def test_no_arguments_is_help(cli):
    _, out, err = cli()
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("trian",), "'train'"),
        (("train", "--epoch", "3"), "--epochs"),
        (("train", "demo", "--schedule", "cos"), "cosine"),
        (("train", "demo:32", "--ssl", "boyl"), "did you mean 'byol'?"),
        (("train", "demo:32", "--backbone", "resnet-18"), "did you mean 'resnet18'?"),
        (("train", "demo:32", "-o", "ssl.decai=1"), "did you mean 'decay'?"),
        (("train", "demo:32", "-o", "sll.decay=1"), "did you mean 'ssl'?"),
        (("train", "dmeo:32"), "did you mean 'demo'?"),
        (("list", "simclear"), "did you mean 'simclr'?"),
        (("plugins", "chekc"), "'check'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_typing_error_is_answered_with_what_was_meant(cli, tmp_path, words, meant):
    out = ("--out", tmp_path / "run", "--backbone", "resnet18") if "train" in words[0] else ()
    code, _, err = cli(*words[:1], *out, *words[1:])
    assert code == 2
    assert meant in err
    assert len(err.splitlines()) <= 12
    assert "Traceback" not in err


def test_a_bug_ends_with_one_and_shows_its_traceback_on_demand(cli, monkeypatch):
    import ssl_seg.plugins

    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr(ssl_seg.plugins, "load_plugins", broken)
    code, _, err = cli("list")
    assert code == 1
    assert "error[1] internal error: RuntimeError: boom" in err
    assert "Traceback" not in err
    code, _, err = cli("--debug", "list")
    assert code == 1
    assert "Traceback" in err


COMMANDS = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you", loud: bool = False) -> None:
    "Say hello."
    print("hello", name.upper() if loud else name)
"""
GROUP = "ssl_seg.commands"


def test_commands_of_other_packages_are_shown_and_run(package, cli):
    package("greeter", COMMANDS, group=GROUP, entry="hello = greeter:app")
    several = COMMANDS + "\n@app.command()\ndef bye() -> None:\n    print('bye')\n"
    package("polite", several, group=GROUP, entry="manners = polite:app")
    code, out, _ = cli("--help")
    assert code == 0
    assert "hello (from greeter 1.2)" in " ".join(out.split())
    assert "manners (from polite 1.2)" in " ".join(out.split())
    assert cli("hello", "--name", "sun", "--loud")[:2] == (0, "hello SUN\n")
    assert "Say hello." in cli("hello", "--help")[1] and cli("hello", "-h") == cli("hello", "--help")
    assert cli("manners", "bye")[:2] == (0, "bye\n")
    assert "commands: hello" in cli("plugins")[1]


@pytest.mark.parametrize(
    ("code", "entry", "reason"),
    [
        ("raise ImportError('gone')", "hello = odd:app", "ImportError: gone"),
        ("import sys; sys.exit(0)", "hello = odd:app", "SystemExit: 0"),
        ("app = 3", "hello = odd:app", "TypeError: it must be a typer.Typer, not int"),
        (COMMANDS, "hello = odd:application", "AttributeError"),
    ],
)
def test_a_broken_command_fails_alone(package, cli, code, entry, reason):
    package("odd", code, group=GROUP, entry=entry)
    assert "hello (from odd 1.2)" in " ".join(cli("--help")[1].split())
    assert cli("list", "ssl")[0] == 0
    for words in (("hello",), ("hello", "--name", "sun", "more")):
        ended, _, err = cli(*words)
        assert ended == 7
        assert "command 'hello' of odd 1.2 failed to load: " + reason in err


def test_a_command_of_two_owners_names_both(package, cli):
    package("first", COMMANDS, group=GROUP, entry="hello = first:app")
    package("second", COMMANDS, group=GROUP, entry="hello = second:app")
    code, out, err = cli("hello")
    assert (code, out) == (7, "")
    assert "command 'hello' is provided by both first 1.2 and second 1.2" in err
    assert cli("--help")[0] == 0


def test_a_built_in_command_cannot_be_replaced(package, cli):
    package("rival", COMMANDS, group=GROUP, entry="list = rival:app")
    code, out, _ = cli("list", "ssl")
    assert code == 0
    assert "byol" in out


@pytest.fixture
def console_script(monkeypatch):
    """Started as `ssl-seg`: under `python -m pytest` it would take its name from there."""
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ssl-seg tr", {"train"}),
        ("ssl-seg figure ", {"tsne", "curves"}),
        ("ssl-seg train --prec", {"--precision"}),
    ],
)
def test_a_shell_can_ask_how_a_word_goes_on(console_script, cli, package, monkeypatch, typed, offered):
    """As the script of `--show-completion bash` asks."""
    monkeypatch.setenv("_SSL_SEG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    code, out, err = cli()
    assert code == 0 and not err
    assert offered <= set(out.split())
    assert "doctor" not in out


def test_a_shell_is_offered_commands_of_packages(console_script, cli, package, monkeypatch):
    package("hello", "raise RuntimeError", group="ssl_seg.commands")
    monkeypatch.setenv("_SSL_SEG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "ssl-seg hel")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli()[1].split() == ["hello"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(console_script, cli, monkeypatch, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, _ = cli("--show-completion", shell)
    assert code == 0
    assert "_SSL_SEG_COMPLETE=complete_" + shell in out


@pytest.mark.parametrize("words", [("sam", "runs/a"), ("sam", "--help"), ("sam",)])
def test_a_command_of_our_own_plugin_says_how_it_is_installed(cli, words):
    code, out, err = cli(*words)
    if "--help" in words:
        assert code == 0 and "pip install ssl-seg-sam" in " ".join(out.split())
    else:
        assert code == 7 and "`ssl-seg sam` is a command of ssl-seg-sam, which is not installed" in err
        assert "next: pip install ssl-seg-sam" in err and "plugins/ssl-seg-sam" in err
    assert "sam" not in cli("--help")[1].split("Commands:")[1].split()


def test_a_command_of_a_plugin_that_is_left_out_says_why(cli, package, monkeypatch):
    package("ssl-seg-sam", "", group="ssl_seg.commands", entry="sam = ssl_seg_sam:app")
    monkeypatch.setenv("SSL_SEG_DISABLE_PLUGINS", "sam")
    code, _, err = cli("sam", "runs/a")
    assert code == 7 and "is disabled by SSL_SEG_DISABLE_PLUGINS" in err and "pip install" not in err
