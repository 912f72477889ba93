"""The one writer, and that nothing goes past it."""

import ast
import errno
import os
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import atomic_file, atomic_path, atomic_write_bytes, atomic_write_text

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
WRITERS = {"atomic_path", "atomic_file", "atomic_output"}
WRITING = {
    "write_text",
    "write_bytes",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "save_file",
    "savefig",
}
MOVING = {
    "os.replace",
    "os.rename",
    "os.link",
    "os.symlink",
    "shutil.copy",
    "shutil.copyfile",
    "shutil.copy2",
}
MOVING |= {"shutil.move", "shutil.copytree"}
# functions that write without a final name of their own, and why
ALLOWED = {
    ("utils/files.py", "atomic_path"): "the writer itself",
    ("utils/files.py", "atomic_file"): "the writer itself",
    ("utils/lock.py", "take_lock"): "a lock is a file that stays",
    ("data/cache_lock.py", "build_lock"): "a lock",
    ("data/shards/remote.py", "locate"): "a lock",
    ("data/shards/remote.py", "_make_room"): "a lock",
    ("data/file_digests.py", "keep"): "a lock",
    ("data/cache_lock.py", "remove_stale_builds"): "a lock",
    ("study/runner.py", "__init__"): "a lock",
    ("utils/importing.py", "_noted"): "a lock",
    (
        "engine/run_dir.py",
        "append_scores",
    ): "lines are appended to scores.jsonl, and a part of one is dropped",
    ("engine/run_dir.py", "restore"): "a damaged file is set aside under a free name",
    ("data/cache_builder.py", "_write_arrays"): "into the folder that `build` gives its final name",
    ("data/cache_integrity.py", "write_index"): "into the folder that `build` gives its final name",
    ("data/cache_builder.py", "_create_file"): "into the folder that `build` gives its final name",
    ("weights/checkpoint.py", "_write"): "into the folder that `save_checkpoint` gives its final name",
    ("weights/checkpoint_files.py", "remove_checkpoint"): "a name that is never read",
    ("utils/progress.py", "print"): "the null device",
    ("utils/streams.py", "_try"): "the null device",
    ("utils/streams.py", "guarded_streams"): "the null device",
    ("reporting/images.py", "_encode"): "into memory",
    ("data/shards/encoding.py", "_encoded"): "into memory",
    ("data/shards/packing.py", "_complete"): "a lock",
    ("data/shards/packing.py", "pack"): "a lock",
    ("data/shards/packing.py", "_wait"): "a lock",
    ("workflows/pseudo_labels.py", "_link"): "into the folder that gets its final name when all is written",
    ("exporting/onnx.py", "write"): "into a file that `atomic_output` gives its final name",
    ("exporting/output.py", "write_tensors"): "into a file that `atomic_output` gives its final name",
    ("exporting/output.py", "write_json"): "into a folder that `atomic_output` gives its final name",
}


def bypasses(tree):
    """(function, line, call) of every write that is not inside `with atomic_...`."""

    def walk(node, function, inside):
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            called = {
                ast.unparse(i.context_expr.func) for i in node.items if isinstance(i.context_expr, ast.Call)
            }
            inside = inside or bool(called & WRITERS)
        if isinstance(node, ast.Call) and not inside and writes(node):
            yield function, node.lineno, ast.unparse(node)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, inside)

    yield from walk(tree, "", False)


def writes(call):
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    texts += [k.value.value for k in call.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
    if last == "open" or name == "os.fdopen":
        return any(set(text) <= set("rwxabt+") and set(text) & set("wxa+") for text in texts)
    if last in ("save", "rename") or (last == "replace" and len(call.args) == 1 and not texts):
        return name not in ("safetensors.save", "super().save")
    return last in WRITING or name in MOVING


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_gets_its_final_name_from_the_one_writer(path):
    place = path.relative_to(ROOT).as_posix().removeprefix("src/ssl_seg/")
    found = [
        f"{place}:{line} {function}: {call}"
        for function, line, call in bypasses(ast.parse(path.read_text()))
        if (place, function) not in ALLOWED and not harmless(call)
    ]
    assert found == []


def harmless(call):
    """Our own `save`s, which are walked themselves, and `dataclasses.replace`."""
    return call.startswith(("self.save(", "save(", "gallery.save(", "replace("))


@pytest.mark.parametrize(
    "code",
    [
        "path.open('wb')",
        "open(path, 'w')",
        "open(path, mode='a')",
        "path.write_text(x)",
        "np.savez_compressed(path, a=a)",
        "image.save(path)",
        "torch.save(x, path)",
        "os.replace(a, b)",
        "shutil.copy(a, b)",
        "aside.replace(path)",
    ],
)
def test_the_walk_finds_what_bypasses(code):
    assert len(list(bypasses(ast.parse(f"def f():\n    {code}")))) == 1
    inside = f"def f():\n    with atomic_path(p) as aside:\n        {code}"
    assert list(bypasses(ast.parse(inside))) == []


@pytest.mark.parametrize(
    "code", ["path.open()", "open(path, 'rb')", "text.replace('a', 'b')", "path.open('r')"]
)
def test_reading_is_no_writing(code):
    assert list(bypasses(ast.parse(code))) == []


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    atomic_write_text(path, "old")
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write(b"ne")
        raise KeyError
    assert path.read_text() == "old"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]
    atomic_write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    atomic_write_bytes(path, b"old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "open") if call == "open" else (os, call)), full)
        with pytest.raises(ResourceError, match="No space left"):
            atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    atomic_write_text(tmp_path / "out", "new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "out").read_text() == "new" and not (tmp_path / "out").is_symlink()


def test_the_longest_name_has_a_temporary_one(tmp_path):
    atomic_write_text(tmp_path / ("ä" * 127), "x")
    assert (tmp_path / ("ä" * 127)).read_text() == "x"


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(ResourceError), atomic_path(tmp_path / "f") as aside:
        aside.mkdir()
        (aside / "a").write_text("x")
        raise OSError(errno.EIO, "gone")
    assert list(tmp_path.iterdir()) == []
    with atomic_path(tmp_path / "f") as aside:
        aside.mkdir()
        (aside / "a").write_text("x")
    assert (tmp_path / "f" / "a").read_text() == "x"


@pytest.mark.parametrize("before", [None, "old"])
def test_an_output_that_is_told_as_not_written_is_in_nobodys_way(tmp_path, monkeypatch, before):
    """The disk is full when the folder itself is synced, after the renaming."""
    path, real = tmp_path / "a.txt", os.fsync
    if before:
        path.write_text(before)

    def fsync(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ResourceError, match="No space left"):
        atomic_write_text(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == (["a.txt"] if before else [])
