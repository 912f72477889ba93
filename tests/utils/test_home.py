from pathlib import Path

import ssl_seg
from ssl_seg.utils.home import expanded


def test_home_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and expanded(Path("a/~")) == Path("a/~")


def test_a_user_who_is_not_there_is_a_name_like_any_other(cli, tmp_path, monkeypatch):
    """`Path.expanduser` raises RuntimeError there, which is no bug of ours."""
    monkeypatch.chdir(tmp_path)
    assert expanded("~nosuchuser/x") == Path("~nosuchuser/x")
    code, _, err = cli("report", "~nosuchuser/x", "--out", "~nosuchuser/r.html")
    assert code in (2, 3) and "internal error" not in err


def test_nobody_expands_otherwise():
    for path in Path(ssl_seg.__file__).parent.rglob("*.py"):
        assert ".expanduser()" not in path.read_text(), path
