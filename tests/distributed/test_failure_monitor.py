"""Processes that hear of each other's end; here they are threads of one, joined by pairs of sockets."""

import json
import socket
import time
from contextlib import suppress
from threading import Event, Thread

import pytest

from ssl_seg.distributed import connection as wires
from ssl_seg.distributed import failure_monitor as links
from ssl_seg.distributed.connection import Connection, accept_all
from ssl_seg.distributed.failure_monitor import FailureMonitor
from ssl_seg.errors import DataError, DistributedError, Stopped


@pytest.fixture
def three():
    """The links of three processes, and the ends of the connections by which each could die."""
    mains, others, ends = {}, [], {}
    for rank in (1, 2):
        here, there = socket.socketpair()
        mains[rank] = Connection(here), f"pid {rank} on host"
        ends[rank] = Connection(there)
        others.append((rank, {0: (ends[rank], "the main process")}))
    ends[0] = mains[1][0]  # what the main process has of its connection to process 1
    made = [FailureMonitor(0, 3, mains), *(FailureMonitor(rank, 3, wire) for rank, wire in others)]
    yield made, ends
    for link in made:
        link.close()


def later(function):
    """Call it in a thread; gives what it raised, once it is joined."""
    caught = []

    def run():
        try:
            function()
        except BaseException as error:
            caught.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread, caught


def test_all_wait_for_the_last(three):
    (main, one, two), _ = three
    for last in (main, one, two, one):
        first = [later(link.barrier) for link in (main, one, two) if link is not last]
        assert all(thread.is_alive() for thread, _ in first)
        last.barrier()
        for thread, caught in first:
            thread.join(5)
            assert not thread.is_alive() and not caught


def test_a_death_is_told_to_all_that_wait(three):
    (main, one, _), ends = three
    waiting = [later(link.barrier) for link in (main, one)]
    ends[2].close()
    for thread, _ in waiting:
        thread.join(5)
    (of_main,), (of_one,) = (caught for _, caught in waiting)
    assert isinstance(of_main, DistributedError) and isinstance(of_one, DistributedError)
    assert of_main.what == of_one.what == "process 2 exited unexpectedly"
    assert "pid 2 on host" in of_main.where
    assert (of_main.reported, of_one.reported) == (False, True), "the main one says it"


def test_of_the_main_ones_death_each_must_tell(three):
    (main, one, two), ends = three
    ends[0].close()
    del main, two
    error = one.wait_for_failure(5)
    assert isinstance(error, DistributedError) and "process 0 exited unexpectedly" in error.what
    assert not error.reported


def test_an_error_is_told_by_the_main_process_alone(three):
    (main, one, two), _ = three
    assert one.report_failure(DataError("no such image", where="a.jpg", next="mend it")) is True
    error = main.wait_for_failure(5)
    assert isinstance(error, DistributedError) and not error.reported
    assert (error.what, error.where, error.next) == ("process 1 failed: no such image", "a.jpg", "mend it")
    assert two.wait_for_failure(5).reported
    assert main.report_failure(error) is False


def test_a_signal_in_one_process_is_one_in_all(three):
    (main, one, _), _ = three
    one.report_failure(Stopped(15))
    error = main.wait_for_failure(5)
    assert isinstance(error, Stopped) and error.code == 143


def test_the_same_error_everywhere_is_told_once(three):
    (main, one, two), _ = three
    assert main.report_failure(DataError("no such image")) is False
    assert one.report_failure(DataError("no such image")) is True
    assert two.report_failure(DataError("no such image")) is True


def test_who_ends_in_peace_harms_nobody(three):
    (main, one, two), _ = three
    one.close()
    assert main.wait_for_failure(0.3) is None and two.wait_for_failure(0) is None


def test_a_process_that_cannot_be_interrupted_is_ended(three, monkeypatch):
    monkeypatch.setattr(links, "GRACE_PERIOD_SECONDS", 0.1)
    (main, one, _), ends = three
    ended = Event()
    main.on_stalled = lambda error: ended.set()
    one.on_stalled = lambda error: pytest.fail("it is ending already")
    one.report_failure(KeyError("x"))
    assert ended.wait(5)
    assert ends


def test_a_process_that_is_ending_is_left_alone(three, monkeypatch):
    monkeypatch.setattr(links, "GRACE_PERIOD_SECONDS", 0.1)
    (main, _, _), ends = three
    ended = Event()
    main.on_stalled = lambda error: ended.set()
    ends[1].close()
    assert main.wait_for_failure(5)
    main.report_failure(DistributedError("process 1 exited unexpectedly"))
    assert not ended.wait(0.5)


def test_who_does_not_answer_is_found(three, monkeypatch):
    monkeypatch.setattr(links, "_REPLY_TIMEOUT_SECONDS", 0.5)
    (main, _, two), _ = three
    assert main.unresponsive_ranks() == []
    monkeypatch.setattr(two, "_handle", lambda rank, said: None)
    assert main.unresponsive_ranks() == [2]


@pytest.fixture
def hasty(monkeypatch):
    """Whoever does not answer a few questions is given up."""
    monkeypatch.setattr(links, "_PING_INTERVAL_SECONDS", 0.05)
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.5")


def test_a_frozen_process_is_given_up_by_those_that_wait_for_it(three, hasty, monkeypatch):
    (main, one, two), _ = three
    for link in (main, two):
        monkeypatch.setattr(link, "_handle", lambda rank, said: None)  # its threads are stopped, all of them
    thread, caught = later(one.barrier)
    thread.join(30)
    (error,) = caught
    assert isinstance(error, DistributedError) and error.code == 8
    assert error.what == "process 0 is unresponsive: no answer for 0 s"
    assert error.where == "the main process"


def test_the_main_process_gives_up_the_one_that_is_frozen_and_tells_the_others(three, hasty, monkeypatch):
    (main, one, two), _ = three
    monkeypatch.setattr(two, "_handle", lambda rank, said: None)
    waiting = later(one.barrier)
    with pytest.raises(DistributedError, match="process 2 is unresponsive: no answer") as caught:
        main.barrier()
    assert caught.value.where == "pid 2 on host"
    main.report_failure(caught.value)
    waiting[0].join(30)
    assert "process 2 is unresponsive" in waiting[1][0].what


def test_a_process_that_is_at_work_is_waited_for(three, hasty):
    (main, one, two), _ = three
    waiting = [later(link.barrier) for link in (main, one)]
    time.sleep(1.5)  # thrice the patience
    assert all(thread.is_alive() for thread, _ in waiting)
    two.barrier()
    for thread, caught in waiting:
        thread.join(30)
        assert not thread.is_alive() and not caught


def test_a_word_that_nobody_takes_is_given_up(monkeypatch):
    monkeypatch.setattr(wires, "_WRITE_TIMEOUT_SECONDS", 0.2)
    here, there = socket.socketpair()
    wire = Connection(here)
    assert wire.send(text="x" * 2**24) is False
    wire.close()
    there.close()


def test_who_says_its_name_letter_by_letter_is_sent_away(tmp_path, monkeypatch):
    monkeypatch.setattr(wires, "_CONNECT_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(wires, "_HELLO_TIMEOUT_SECONDS", 0.3)
    path = str(tmp_path / "door")
    server, guest = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    guest.connect(path)
    over = Event()

    def dribble():
        with suppress(OSError):
            while not over.wait(0.05):
                guest.sendall(b" ")

    thread, _ = later(dribble)
    with pytest.raises(DistributedError, match="process 1 did not connect"):
        accept_all(server, 2, "right")
    over.set()
    thread.join(5)
    guest.close()
    server.close()


def test_strangers_are_sent_away_and_a_missing_process_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(wires, "_CONNECT_TIMEOUT_SECONDS", 1.0)
    path = str(tmp_path / "door")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    guests = []
    for hello in (b"GET / HTTP/1.0\r\n\r\n", b'{"token": "wrong", "rank": 1, "who": "x"}\n', b"[1]\n"):
        guests.append(socket.socket(socket.AF_UNIX))
        guests[-1].connect(path)
        guests[-1].sendall(hello)
    guests.append(socket.socket(socket.AF_UNIX))
    guests[-1].connect(path)
    guests[-1].sendall(json.dumps({"token": "right", "rank": 2, "who": "me"}).encode() + b"\n")
    with pytest.raises(DistributedError, match="process 1 did not connect"):
        accept_all(server, 3, "right")
    for guest in guests:
        with suppress(ConnectionResetError):
            assert guest.recv(10) == b"", "a closed connection, and not a word"
        guest.close()
    server.close()


def test_what_comes_right_behind_the_first_word_is_not_lost(tmp_path):
    path = str(tmp_path / "door")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    guest = socket.socket(socket.AF_UNIX)
    guest.connect(path)
    guest.sendall(b'{"token": "right", "rank": 1, "who": "me"}\n{"here": 1}\n')
    ((wire, who),) = accept_all(server, 2, "right").values()
    assert who == "me" and wire.receive() == [{"here": 1}]
    wire.close()
    guest.close()
