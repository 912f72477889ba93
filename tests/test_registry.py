"""Names and options become objects; components from a file."""

from pathlib import Path
from typing import Literal

import pytest

from ssl_seg.errors import PluginError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.options import check_options, factory_options

Pair = tuple[float, float]


def factory(
    backbone,
    *,
    width: int = 8,
    decay: float = 0.9,
    fast: bool = False,
    mode: Literal["a", "b"] = "a",
    scale: tuple[float, float] = (0.2, 1.0),
    sizes: list[int] | None = None,
    name: str = "x",
    limit: int | None = 5,
    folder: Path | None = None,
    untyped=3,
):
    pass


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width", "12", 12),
        ("width", "-1", -1),
        ("decay", "1e-3", 0.001),
        ("decay", "1", 1.0),
        ("fast", "true", True),
        ("fast", "False", False),
        ("fast", "1", True),
        ("mode", "b", "b"),
        ("scale", "0.3,0.7", (0.3, 0.7)),
        ("scale", "[0.3, 0.7]", (0.3, 0.7)),
        ("sizes", "3,4", [3, 4]),
        ("sizes", "3", [3]),
        ("sizes", "none", None),
        ("name", "none", "none"),
        ("name", "1,2", "1,2"),
        ("name", "", ""),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("folder", "a/b", Path("a/b")),
        ("untyped", "4", 4),
    ],
)
def test_a_text_becomes_a_value_of_the_annotated_type(key, text, value):
    read = check_options(factory, "ssl factory", {key: text})
    assert read == {key: value}
    assert type(read[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("width", "1.5", "valid integer"),
        ("width", "wide", "valid integer"),
        ("width", "none", "valid integer"),
        ("decay", "slow", "valid number"),
        ("fast", "perhaps", "valid boolean"),
        ("mode", "c", "'a' or 'b'"),
        ("scale", "0.3", "valid tuple"),
        ("scale", "0.3,0.7,0.9", "valid tuple"),
        ("scale", "[0.3", "valid tuple"),
        ("untyped", "x", "valid integer"),
    ],
)
def test_a_text_of_the_wrong_type_is_refused_with_the_reason(key, text, reason):
    with pytest.raises(UsageError, match=f"option '{key}' of ssl factory") as caught:
        check_options(factory, "ssl factory", {key: text})
    assert reason in caught.value.what
    assert repr(text) in caught.value.what


def test_an_unknown_option_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match="no option 'widht'; did you mean 'width'") as caught:
        check_options(factory, "ssl factory", {"widht": "1"})
    assert "decay" in caught.value.next
    with pytest.raises(UsageError, match="no option 'backbone'"):
        check_options(factory, "ssl factory", {"backbone": "1"})


def test_a_type_that_no_text_can_say_is_refused():
    class Odd:
        pass

    def takes(*, odd: Odd = None):
        pass

    with pytest.raises(UsageError, match="cannot be written as text"):
        check_options(takes, "it", {"odd": "x"})


def test_annotations_that_cannot_be_read_are_the_plugins_fault():
    def takes(*, odd: "Missing" = 1):  # noqa: F821
        pass

    with pytest.raises(PluginError, match="Missing"):
        factory_options(takes)


FILE = """
from torch.nn import Identity
from ssl_seg.base import SSLMethod, Head
from ssl_seg.metrics.knn import KNN
from ssl_seg.methods.byol import BYOL
from ssl_seg.testing import TinyBackbone
from ssl_seg.datasets.demo import DemoDataset
loaded = []
class MyMethod(BYOL):
    def __init__(self, backbone, *, hidden: int = 16) -> None:
        super().__init__(backbone, hidden=hidden, dimensions=8)
def tiny_backbone(*, width: int = 3):
    backbone = TinyBackbone()
    backbone.width = width
    return backbone
def head(channels, strides, classes, *, depth: int = 1):
    made = Identity()
    made.given = (channels, strides, classes, depth)
    return made
def pictures(root, split, *, extra: int = 0):
    return DemoDataset(split, int(root) + extra)
class MyMetric(KNN): pass
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_every_kind_can_come_from_a_file(file):
    registry = load_plugins().registry
    backbone = registry.build("backbones", TypedName(f"{file}:tiny_backbone"), options={"width": "5"})
    assert backbone.width == 5
    method = registry.build("ssl", TypedName(f"{file}:MyMethod"), backbone, options={"hidden": "12"})
    assert method.projector[0].out_features == 12
    head = registry.build("heads", TypedName(f"{file}:head"), 1, 2, 3, options={"depth": "4"})
    assert head.given == (1, 2, 3, 4)
    assert (
        len(registry.build("datasets", TypedName(f"{file}:pictures"), "7", "", options={"extra": "2"})) == 9
    )
    assert registry.build("metrics", TypedName(f"{file}:MyMetric"), ["a"]).compute() == {"knn": 0.0}


def test_a_file_is_imported_once(file):
    registry = load_plugins().registry
    one = registry.factory("ssl", TypedName(f"{file}:MyMethod"))
    assert one is registry.factory("ssl", TypedName(f"{file}:MyMethod"))
    other = file.parent / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(FILE)
    assert one is not registry.factory("ssl", TypedName(f"{other}:MyMethod"))


@pytest.mark.parametrize(
    ("code", "name", "error", "text"),
    [
        (None, "MyMethod", UsageError, "file not found"),
        (FILE, "MyMethd", UsageError, "did you mean 'MyMethod'"),
        (FILE, "number", PluginError, "is not a factory (got int)"),
        ("import nowhere_at_all", "A", PluginError, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def (", "A", PluginError, "SyntaxError"),
        ("raise SystemExit(2)", "A", PluginError, "SystemExit: 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, code, name, error, text):
    path = tmp_path / "mine.py"
    if code:
        path.write_text(code)
    with pytest.raises(error) as caught:
        load_plugins().registry.factory("ssl", TypedName(f"{path}:{name}"))
    assert text in caught.value.what


def test_a_file_that_failed_is_read_again_once_it_is_mended(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import nowhere_at_all")
    registry = load_plugins().registry
    with pytest.raises(PluginError):
        registry.factory("ssl", TypedName(f"{path}:MyMethod"))
    path.write_text(FILE)
    assert registry.factory("ssl", TypedName(f"{path}:MyMethod")).__name__ == "MyMethod"
