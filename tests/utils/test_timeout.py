import pytest

from ssl_seg.errors import UsageError
from ssl_seg.utils.timeout import TIMEOUT_SECONDS, StallDetector, timeout_seconds


def test_the_environment_says_how_long(monkeypatch):
    monkeypatch.delenv("SSL_SEG_TIMEOUT", raising=False)
    assert timeout_seconds() == TIMEOUT_SECONDS
    for text, seconds in (("", TIMEOUT_SECONDS), ("60", 60.0), (" 0.5 ", 0.5)):
        monkeypatch.setenv("SSL_SEG_TIMEOUT", text)
        assert timeout_seconds() == seconds


def test_the_name_of_version_0_1_0_is_read_too(monkeypatch):
    monkeypatch.delenv("SSL_SEG_TIMEOUT", raising=False)
    monkeypatch.setenv("SSL_SEG_PATIENCE", "7")
    assert timeout_seconds() == 7.0
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "8")
    assert timeout_seconds() == 8.0


@pytest.mark.parametrize("text", ["long", "0", "-1", "nan", "inf", "1e9"])
def test_what_is_no_number_of_seconds(text, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", text)
    with pytest.raises(UsageError, match=f"SSL_SEG_TIMEOUT={text} is not a number of seconds"):
        timeout_seconds()


def test_who_does_not_move_is_given_up_after_so_many_looks(monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "3")
    idle = StallDetector(0.5)
    assert [idle.is_stalled("same") for _ in range(7)] == [False] * 6 + [True]
    assert not idle.is_stalled("moved") and [idle.is_stalled("moved") for _ in range(6)] == [False] * 5 + [
        True
    ]
