"""What `new-plugin` writes works as it is, and what it refuses leaves nothing behind."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import PathDistribution

import pytest

from ssl_seg.commands import check_plugin
from ssl_seg.registry import KINDS

KIND_OF = {
    "method": "ssl",
    "backbone": "backbones",
    "head": "heads",
    "dataset": "datasets",
    "metric": "metrics",
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


ENTRY_POINTS = {
    "observer": {"ssl_seg": {"a_new_one": "ssl_seg_a_new_one"}},
    "command": {"ssl_seg.commands": {"a-new-one": "ssl_seg_a_new_one:app"}},
}


def written_and_clean(cli, kind, tmp_path):
    """Write a package and look at it: ruff has nothing to say. Its folder, and what its metadata registers."""
    code, out, err = cli("new-plugin", "a-new-one", "--kind", kind)
    assert code == 0, err
    folder = tmp_path / "ssl-seg-a-new-one"
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    own = ["src/ssl_seg_a_new_one.py", "tests/test_ssl_seg_a_new_one.py"]
    assert written == ["LICENSE", "README.md", "pyproject.toml", *own]
    assert "cd ssl-seg-a-new-one && python -m pip install -e . pytest && python -m pytest" in out

    for words in (("ruff", "check", "--no-cache", "."), ("ruff", "format", "--no-cache", "--check", ".")):
        checked = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "ssl-seg-a-new-one"
    return *(folder / path for path in own), project["entry-points"]


@pytest.mark.parametrize("kind", KIND_OF)
def test_it_works_as_it_is(cli, kind, tmp_path, monkeypatch):
    """Its test passes, and the name in its metadata is the one it registers."""
    module, test, points = written_and_clean(cli, kind, tmp_path)
    assert points == {"ssl_seg": {"a_new_one": "ssl_seg_a_new_one"}}
    scope = {"__name__": "ssl_seg_a_new_one"}
    monkeypatch.setitem(sys.modules, "ssl_seg_a_new_one", run(module, scope))
    brought = {hook for hook in KINDS.values() if hook in scope}
    assert brought == {KINDS[KIND_OF[kind]]}
    assert list(scope[KINDS[KIND_OF[kind]]]()) == ["a_new_one"]
    its_tests_pass(test, tmp_path)


@pytest.mark.parametrize("kind", ENTRY_POINTS)
def test_an_observer_and_a_command_work_as_they_are(cli, kind, tmp_path, monkeypatch):
    module, test, points = written_and_clean(cli, kind, tmp_path)
    assert points == ENTRY_POINTS[kind]
    monkeypatch.syspath_prepend(module.parent)
    its_tests_pass(test, tmp_path)
    sys.modules.pop("ssl_seg_a_new_one")


@pytest.mark.parametrize("kind", ENTRY_POINTS)
def test_an_installed_observer_or_command_is_listed_and_checked(cli, kind, tmp_path, package, capsys):
    module, _, points = written_and_clean(cli, kind, tmp_path)
    ((group, names),) = points.items()
    ((name, target),) = names.items()
    package("ssl-seg-a-new-one", module.read_text(), group=group, entry=f"{name} = {target}")
    assert f"ssl-seg-a-new-one 1.2\n  {kind}s: {name}\n" in cli("plugins")[1]
    assert check_plugin.main(name) == 0
    assert f"{name} ({kind}) passed all checks" in capsys.readouterr().out


def run(path, scope):
    exec(compile(path.read_text(), str(path), "exec"), scope)  # noqa: S102  it is ours
    module = type(sys)(scope["__name__"])
    vars(module).update(scope)
    return module


def its_tests_pass(path, tmp_path):
    scope = {"__name__": "tests"}
    run(path, scope)
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert tests
    for number, test in enumerate(tests):
        (folder := tmp_path / f"of-test-{number}").mkdir()
        test(*[folder] * test.__code__.co_argcount)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "x-",
        "x--y",
        "3d",
        "my plugin",
        "my_method",
        "MyMethod",
        "a/b",
        "../x",
        "ä",
        "x" * 25,
        "ssl-seg-",
    ],
)
def test_a_name_that_no_package_can_have_is_refused(cli, tmp_path, name):
    code, _, err = cli("new-plugin", "--", name)
    assert code == 2 and "invalid plugin name" in err
    assert not list(tmp_path.iterdir())


def test_a_near_name_is_offered(cli):
    assert "next: ssl-seg new-plugin my-method\n" in cli("new-plugin", "My_Method!")[2]


@pytest.mark.parametrize(
    ("kind", "name", "taken"),
    [
        ("method", "byol", "byol"),
        ("backbone", "resnet18", "resnet18"),
        ("head", "fcn32s", "fcn32s"),
        ("dataset", "image-folder", "image_folder"),
        ("metric", "mean-iou", "mean_iou"),
        ("command", "classify", "classify"),
    ],
)
def test_a_name_that_is_taken_is_refused(cli, tmp_path, kind, name, taken):
    code, _, err = cli("new-plugin", name, "--kind", kind)
    assert code == 2 and f"ssl-seg already provides a {kind} named {taken!r}" in err
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_name_may_be_taken_by_another_kind(cli, tmp_path):
    code, _, err = cli("new-plugin", "byol", "--kind", "head")
    assert code == 0, err
    assert (tmp_path / "ssl-seg-byol").is_dir()


def test_a_package_that_is_installed_is_refused(cli, package, tmp_path):
    package("ssl-seg-mine", "")
    code, _, err = cli("new-plugin", "mine", "--out", "mine")
    assert code == 2 and "package ssl-seg-mine is already installed" in err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_what_exists_is_not_touched(cli, tmp_path, there):
    path = tmp_path / "ssl-seg-mine"
    {"folder": path.mkdir, "file": path.touch, "link": lambda: path.symlink_to("nowhere")}[there]()
    code, _, err = cli("new-plugin", "mine")
    assert code == 9 and "ssl-seg-mine exists" in err
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "cache"] == ["ssl-seg-mine"]


def test_what_cannot_be_written_whole_is_not_written(cli, tmp_path, monkeypatch):
    from pathlib import Path

    write = Path.write_text

    def full(path, text, *more, **how):
        if path.name == "LICENSE":
            raise OSError(28, "No space left on device")
        return write(path, text, *more, **how)

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = cli("new-plugin", "mine")
    assert code == 6 and "No space left on device" in err
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


@pytest.mark.slow
def test_as_an_installed_wheel_it_is_listed_and_checked(cli, tmp_path):
    """Built as its pyproject says, put on the path, and used from another folder."""
    assert cli("new-plugin", "mine", "--out", "mine")[0] == 0
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=tmp_path / "mine", check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    install = [sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")]
    subprocess.run(install, check=True)
    (info,) = (tmp_path / "site").glob("*.dist-info")
    assert PathDistribution(info).metadata["License-Expression"] == "MIT"
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    for words in (("plugins",), ("plugins", "check", "mine")):
        done = subprocess.run(
            [sys.executable, "-m", "ssl_seg", *words],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (
            "ssl-seg-mine 0.1.0\n  ssl: mine\n" if len(words) == 1 else "passed all checks"
        ) in done.stdout
