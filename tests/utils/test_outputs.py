"""Paths made of names from data stay where they belong; and nothing makes one in another way."""

import ast
import os
import re
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg.errors import OutputInUseError, UsageError
from ssl_seg.utils.outputs import names_below, output_path, output_paths, refuse_inputs, refuse_taken

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
# what a function calls that writes
WRITING = re.compile("(write|save|replace_|atomic_|placed|draw_|mkdir|Run$|.*_by_names$)")
# paths of a folder and what is no constant, in functions that write; and why they cannot lead elsewhere
ALLOWED = {
    ("data/image_cache.py", "cache / share(name).decode()"): "a hash",
    ("data/shards/remote.py", "self.folder / str(shard['name'])"): "read_pack_index has checked the names",
    ("data/shards/remote.py", "self.folder / '.locks' / path.stem"): "read_pack_index has checked the names",
    ("workflows/bad_files.py", "default_cache_dir() / 'bad_images' / f'{digest}.csv'"): "a hash",
    ("commands/classify.py", "Path('runs') / '-'.join(('classify', *names))"): "stems",
    ("workflows/architecture_figure.py", "stem.with_name(f'{stem.name}.json')"): "a path from the shell",
    ("workflows/tsne_figure.py", "stem.with_name(f'{stem.name}.json')"): "a path from the shell",
    ("workflows/lr_figure.py", "stem.with_name(f'{stem.name}.json')"): "a path from the shell",
    ("workflows/feature_snapshots.py", "folder / f'epoch-{epoch:04d}.npz'"): "a number",
    (
        "workflows/plugin_skeleton.py",
        "tmp_path / path",
    ): "constants and a name of small letters, digits and -",
    ("workflows/report.py", "path.with_name(f'{path.stem}_tables.tex')"): "a path from the shell",
    ("commands/segment.py", "Path('runs') / '-'.join([names[0].replace(':', '-'), *names[1:]])"): "stems",
    ("commands/study.py", "out / table.name"): "to be said",
    (
        "commands/train.py",
        "Path('runs') / '-'.join(map(short_name, (ssl, backbone or init or 'resnet50', data)))",
    ): "stems",
    ("utils/importing.py", "folder / module"): "a dotted name",
    ("study/stage_links.py", "root / stage"): "`_is_file_name`; links in it are looked for",
    ("study/stage_links.py", "root / stage / f'seed-{seed}'"): "`_is_file_name`; links in it are looked for",
    ("study/stage_links.py", "os.path.join('..', '..', folder.name)"): "a hash",
    ("results/run_digests.py", "folder / name"): "constants",
    ("data/cache_builder.py", "aside / f'{name}.i64'"): "constants",
    ("data/cache_builder.py", "folder / f'{name}.u8'"): "constants",
    ("data/cache_builder.py", "folder / f'{name}.sums'"): "constants",
    ("data/shards/pack_index.py", "self._folder / name"): "constants",
    ("data/shards/packing.py", "folder / _LOCKS / path.stem"): "a number",
    ("data/file_digests.py", "self._table.with_name(f'.{self._table.name}.lock')"): "a hash",
    ("engine/run_dir.py", "self.folder / name"): "constants",
    ("figures/style.py", "stem.with_name(f'{stem.name}.{ending}')"): "constants",
    ("weights/checkpoint.py", "folder / f'step-{step:06d}'"): "a number",
    ("weights/checkpoint.py", "aside / name"): "constants",
    (
        "weights/download.py",
        "Path(torch.hub.get_dir()) / 'checkpoints' / name",
    ): "the last part of an address",
}


def joins(tree):
    """(line, join) of every path that a writing function makes with something that is no constant."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        if any(WRITING.match(ast.unparse(call.func).rpartition(".")[2]) for call in calls):
            yield from ((node.lineno, ast.unparse(node)) for node in ast.walk(function) if is_join(node))


def is_join(node):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        constant = isinstance(node.right, ast.Constant) or ast.unparse(node.right).isupper()
        return not constant and not is_number(node)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    known = (
        node.func.attr in ("joinpath", "with_name", "with_stem") or ast.unparse(node.func) == "os.path.join"
    )
    return known and not all(isinstance(arg, ast.Constant) for arg in node.args)


def is_number(node):
    """Divisions are told from paths by what is divided: a number, a call of a function, arithmetic."""
    left = node.left
    while isinstance(left, ast.BinOp):
        if not isinstance(left.op, ast.Div):
            return True
        left = left.left
    name = ast.unparse(left).rpartition(".")[2].lower()
    return not (isinstance(left, ast.Call) and name.startswith("path(")) and not any(
        word in name
        for word in (
            "folder",
            "path",
            "out",
            "root",
            "base",
            "aside",
            "place",
            "parent",
            "cache",
            "checkpoints",
            "dir",
        )
    )


def test_only_output_path_joins_a_name_from_data_to_a_folder():
    found = set()
    for path in SOURCES:
        place = path.relative_to(ROOT).as_posix().removeprefix("src/ssl_seg/")
        found |= {(place, text) for _, text in joins(ast.parse(path.read_text()))}
    assert found - set(ALLOWED) == set(), (
        "join it by output_path, or say in ALLOWED why it leads nowhere else"
    )
    assert set(ALLOWED) - found == set(), "no longer there"


@pytest.mark.parametrize(
    "code",
    ["out / name", "self.folder / f'{a}.png'", "Path('x') / name", "path.with_name(n)", "root.joinpath(n)"],
)
def test_the_walk_finds_a_join(code):
    assert len(list(joins(ast.parse(f"def f():\n    atomic_write_text({code}, '')")))) == 1
    assert list(joins(ast.parse(f"def f():\n    read({code})"))) == []
    assert list(joins(ast.parse("def f():\n    atomic_write_text(out / 'a.txt', height / width)"))) == []


@pytest.mark.parametrize(
    "name", ["a.png", "a/b.png", "./a.png", "a//b.png", "...png", "..a/b", "ä\udcff.png"]
)
def test_a_name_below_the_folder(tmp_path, name):
    assert output_path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "a/../b", "/a", "//a", "a\0b", "x" * 256]
)
def test_a_name_that_leads_elsewhere(tmp_path, name):
    with pytest.raises(UsageError) as told:
        output_path(tmp_path, name)
    assert told.value.next


def test_a_link_is_not_followed_and_the_folder_itself_may_be_one(tmp_path):
    real, victim = tmp_path / "real", tmp_path / "victim"
    (real / "deep").mkdir(parents=True)
    victim.mkdir()
    (tmp_path / "out").symlink_to(real)
    assert output_path(tmp_path / "out", "deep/a.png") == tmp_path / "out/deep/a.png"
    (real / "a.png").symlink_to(victim / "a.png")  # which is not there
    (real / "deep" / "further").symlink_to(victim)
    for name in ("a.png", "deep/further", "deep/further/b.png", "deep/further/x/y.png"):
        with pytest.raises(UsageError, match="is a symbolic link"):
            output_path(tmp_path / "out", name)


def test_a_folder_or_a_file_in_the_way(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("")
    for name, kind in (("a", "folder"), ("b/c", "file")):
        with pytest.raises(UsageError, match=f"is a {kind}"):
            output_path(tmp_path, name)


def test_two_names_of_one_output(tmp_path):
    for names in (["a.png", "./a.png"], ["a/b", "a"], ["a", "a/b/c"]):
        with pytest.raises(UsageError, match="would"):
            output_paths(tmp_path, names, names)
    assert output_paths(tmp_path, ["a.png", "b/a.png"], ["1", "2"]) == [
        tmp_path / "a.png",
        tmp_path / "b/a.png",
    ]


def test_names_from_anywhere_are_laid_out_below_their_common_folder(tmp_path):
    assert names_below(["a.png", "b/c.png"], tmp_path) == ["a.png", "b/c.png"]
    assert names_below(["/data/a/x.png", "/data/b/c/y.png"], tmp_path) == ["a/x.png", "b/c/y.png"]
    assert names_below(["/data/x.png"], tmp_path) == ["x.png"]
    assert names_below(["/x.png", "/data/x.png"], tmp_path) == ["x.png", "data/x.png"]
    here = tmp_path.name
    assert names_below(["x.png", "../victim/x.png"], tmp_path) == [f"{here}/x.png", "victim/x.png"]
    assert names_below(["../victim/x.png"], tmp_path) == ["x.png"]
    assert names_below(["a/../b.png", str(tmp_path / "b.png")], tmp_path) == ["b.png", "b.png"]
    assert names_below([], tmp_path) == []


def test_an_input_is_never_an_output(tmp_path):
    (tmp_path / "in").mkdir()
    image, other = tmp_path / "in" / "a.png", tmp_path / "b.png"
    image.write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for path in (image, tmp_path / "link" / "a.png", tmp_path / "in" / ".." / "in" / "a.png"):
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="is an input"):
                refuse_taken([other, path], [image], overwrite=overwrite)
    assert refuse_inputs([other], [image, tmp_path / "missing"]) == []
    refuse_taken([other], [image], overwrite=False)


def test_what_is_there_is_overwritten_only_if_that_is_asked_for(tmp_path):
    (tmp_path / "a").write_text("")
    os.symlink("nowhere", tmp_path / "b")
    for name in "ab":
        with pytest.raises(OutputInUseError, match="1 of 2 outputs already exist"):
            refuse_taken([tmp_path / name, tmp_path / "c"], [], overwrite=False)
        refuse_taken([tmp_path / name], [], overwrite=True)
    with pytest.raises(OutputInUseError, match="a already exists") as told:
        refuse_taken([tmp_path / "a"], [], overwrite=False)
    assert "--overwrite" in told.value.next
