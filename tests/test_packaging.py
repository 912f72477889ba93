"""What is published: the files of wheel and sdist, metadata, version, and the workflow that does it."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def build(builder, root, folder):
    """The path of what is built, in this process and without a network."""
    return Path(next(builder(str(root)).build(directory=str(folder), versions=["standard"])))


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(WheelBuilder, ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build(SdistBuilder, ROOT, tmp_path_factory.mktemp("dist"))


def source_files():
    found = (ROOT / "src" / "ssl_seg").rglob("*")
    return {p.relative_to(ROOT / "src").as_posix() for p in found if p.is_file() and p.suffix != ".pyc"}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    info = f"ssl_seg-{VERSION}.dist-info"
    about = {
        f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    assert names_in(wheel) == source_files() | about


@pytest.mark.parametrize(
    "name",
    [
        "__init__.pyi",
        "py.typed",
        "reporting/page.html.j2",
        "reporting/style.css",
        "reporting/page.js",
        "workflows/skeleton/method.py.txt",
    ],
)
def test_the_wheel_holds_what_is_no_python_module(wheel, name):
    assert f"ssl_seg/{name}" in names_in(wheel)


def test_the_sdist_holds_what_a_wheel_is_made_from(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    others = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", ".gitignore"}
    assert names == {f"src/{name}" for name in source_files()} | others


def test_a_wheel_made_from_the_sdist_is_the_same(wheel, sdist, tmp_path):
    """There is no git there: what git ignores is left out by the .gitignore that lies in it."""
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        archive.extractall(tmp_path)
    made = build(WheelBuilder, tmp_path / f"ssl_seg-{VERSION}", tmp_path / "dist")
    assert names_in(made) == names_in(wheel)
    with zipfile.ZipFile(made) as ours, zipfile.ZipFile(wheel) as theirs:
        for name in ours.namelist():
            assert ours.read(name) == theirs.read(name), name


def test_the_metadata_is_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"ssl_seg-{VERSION}.dist-info/METADATA").decode()
        points = archive.read(f"ssl_seg-{VERSION}.dist-info/entry_points.txt").decode()
    told = HeaderParser().parsestr(text)
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("ssl-seg", VERSION, "MIT")
    for key in ("Summary", "Author", "Keywords", "Requires-Python", "Description-Content-Type"):
        assert told[key], key
    assert told.get_payload().startswith("# ssl-seg\n")
    assert len(told.get_all("Requires-Dist")) >= len(PROJECT["dependencies"])
    assert points.split() == ["[console_scripts]", "ssl-seg", "=", "ssl_seg.__main__:main"]


def test_every_lower_bound_is_one(wheel):
    """No dependency without a bound, and none that is pinned or capped."""
    for requirement in PROJECT["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_is_a_wheel_of_its_sources(folder, tmp_path):
    names = names_in(build(WheelBuilder, folder, tmp_path))
    sources = {path.relative_to(folder / "src").as_posix() for path in (folder / "src").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == sources
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name and project["license"] == "MIT"
    assert (folder / "README.md").is_file() and list((folder / "tests").glob("test_*.py"))
    for group in project["entry-points"].values():
        for target in group.values():
            assert f"{target.partition(':')[0].replace('.', '/')}.py" in sources


def test_the_version_is_that_of_the_changelog():
    newest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert newest == VERSION


@pytest.mark.parametrize(
    ("tag", "changelog", "trouble"),
    [
        ("v9.9.9", "", "the tag is v9.9.9, the version in pyproject.toml is 1.2.3"),
        ("v1.2.3", "## [1.2.3] - unreleased", "no dated section [1.2.3]"),
        ("v1.2.3", "## [1.2.3] - 2026-01-31", ""),
    ],
)
def test_a_release_needs_its_version_and_its_changelog(tmp_path, tag, changelog, trouble):
    script = tmp_path / "scripts" / "build"
    script.parent.mkdir()
    script.write_text((ROOT / "scripts" / "build").read_text().replace("python -m hatchling", "echo"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n")
    done = subprocess.run(["bash", script, tag], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not trouble)
    assert trouble in done.stderr
    assert bool(done.stdout) == (not trouble), "it builds only what may be published"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_what_they_use_and_may_do_little(path):
    text = path.read_text()
    for used in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", used), used
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        more = job.get("permissions", {})
        assert more == ({"id-token": "write"} if name == "publish" else {})
        for step in job["steps"]:
            if script := re.match(r"(?:scripts/|\.ci/)[\w-]+", step.get("run", "")):
                assert os.access(ROOT / script[0], os.X_OK), script[0]
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
    assert "secrets." not in text


def test_only_a_tag_publishes_and_only_what_was_tried():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert workflow["jobs"]["publish"]["needs"] == "build"
    runs = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "run" in step]
    assert runs[0] == ".ci/run" and runs[-1].startswith("scripts/try-wheel")


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "ssl_seg", "--version"], capture_output=True, text=True, check=True
    )
    from importlib.metadata import version

    assert done.stdout == f"{version('ssl-seg')}\n"
