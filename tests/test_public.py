"""The public names."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import ssl_seg


@pytest.mark.parametrize("name", [name for name in ssl_seg.__all__ if name != "__version__"])
def test_a_public_name_is_the_one_of_its_module(name):
    thing = getattr(ssl_seg, name)
    module = import_module(f"ssl_seg.{ssl_seg._MODULE_OF[name]}")
    assert thing is getattr(module, name)
    home = getattr(thing, "__module__", "")
    if home.startswith("ssl_seg"):
        assert home == module.__name__, "the table must name the file that defines it"
    assert not (Path(ssl_seg.__file__).parent / name).exists(), "a folder of this name would hide it"


def test_version_and_unknown_names():
    from importlib.metadata import version

    assert ssl_seg.__version__ == version("ssl-seg")
    with pytest.raises(AttributeError, match="BYLO"):
        _ = ssl_seg.BYLO
    assert "BYOL" in dir(ssl_seg)


@pytest.mark.parametrize(("old", "new"), ssl_seg._RENAMED.items())
def test_a_name_of_version_0_1_0_still_works(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now ssl_seg.{new}$"):
        assert getattr(ssl_seg, old) is getattr(ssl_seg, new)
    assert old not in ssl_seg.__all__


def test_type_checkers_are_told_the_same():
    stub = ast.parse(Path(ssl_seg.__file__).with_suffix(".pyi").read_text())
    told = {
        alias.asname: node.module
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: f"ssl_seg.{module}" for name, module in ssl_seg._MODULE_OF.items()}
