"""A study's folder for all tests of the report."""

import importlib.util
import sys
from pathlib import Path

import pytest


def beside(name):
    """A module that lies beside the tests."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def make():
    """What writes folders of runs and studies."""
    return beside("study_folder")


@pytest.fixture(scope="session")
def reader():
    """What reads pages."""
    return beside("reader")


@pytest.fixture(scope="session")
def browser():
    """What drives a browser."""
    found = beside("browser")
    if not found.chromium():
        pytest.skip("no Chromium on PATH")
    return found


@pytest.fixture(scope="session")
def live():
    """What writes runs that are at work."""
    return beside("live_folder")


@pytest.fixture(scope="session")
def study(make, tmp_path_factory):
    """A finished study; tests only read it."""
    return make.write_study(tmp_path_factory.mktemp("study") / "out")
