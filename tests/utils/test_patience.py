import pytest

from ssl_seg.errors import UsageError
from ssl_seg.utils.patience import PATIENCE, Idle, patience


def test_the_environment_says_how_long(monkeypatch):
    monkeypatch.delenv("SSL_SEG_PATIENCE", raising=False)
    assert patience() == PATIENCE
    for text, seconds in (("", PATIENCE), ("60", 60.0), (" 0.5 ", 0.5)):
        monkeypatch.setenv("SSL_SEG_PATIENCE", text)
        assert patience() == seconds


@pytest.mark.parametrize("text", ["long", "0", "-1", "nan", "inf", "1e9"])
def test_what_is_no_number_of_seconds(text, monkeypatch):
    monkeypatch.setenv("SSL_SEG_PATIENCE", text)
    with pytest.raises(UsageError, match=f"SSL_SEG_PATIENCE={text} is no number of seconds"):
        patience()


def test_who_does_not_move_is_given_up_after_so_many_looks(monkeypatch):
    monkeypatch.setenv("SSL_SEG_PATIENCE", "3")
    idle = Idle(0.5)
    assert [idle.look("same") for _ in range(7)] == [False] * 6 + [True]
    assert not idle.look("moved") and [idle.look("moved") for _ in range(6)] == [False] * 5 + [True]
