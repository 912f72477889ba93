import os
import shutil
from pathlib import Path
from threading import Event, Thread

import pytest

from ssl_seg.data import file_digests as module
from ssl_seg.data.file_digests import content_digest, identities
from ssl_seg.data.files import FileDataset
from ssl_seg.utils.lock import try_lock

COUNT = 100


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    for index in range(COUNT):
        (made / f"{index}.jpg").write_bytes(b"%d" % index)
    return made


@pytest.fixture
def table(tmp_path):
    return tmp_path / "cache" / "digests.table"


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read; no file is too fresh to be remembered."""
    names, real = [], module.file_digest

    def reading(path):
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(module, "file_digest", reading)
    monkeypatch.setattr(module, "_FRESH", 0)
    return names


def look(folder, table, ticks=None):
    dataset = FileDataset(folder, [(f"{index}.jpg", -1) for index in range(COUNT)])
    return list(
        identities(dataset, table, 4, lambda *done: ticks.append(done) if ticks is not None else None)
    )


def test_only_what_has_changed_is_read_again(folder, table, read):
    first = look(folder, table)
    assert len(read) == COUNT and len(set(first)) == COUNT
    assert first == [f"{index}.jpg\0{content_digest(str(folder / f'{index}.jpg'))}" for index in range(COUNT)]
    read.clear()
    assert look(folder, table) == first and read == []
    info = (folder / "3.jpg").stat()
    (folder / "3.jpg").write_bytes(b"4")  # of the same size
    os.utime(folder / "3.jpg", ns=(info.st_atime_ns, info.st_mtime_ns))  # and of the same date
    os.utime(folder / "7.jpg", (1, 1))
    now = look(folder, table)
    assert sorted(read) == ["3.jpg", "7.jpg"]
    assert [index for index in range(COUNT) if now[index] != first[index]] == [3]
    read.clear()
    assert look(folder, table) == now and read == []


def test_a_copy_is_read_once_and_both_are_remembered(folder, table, read):
    first = look(folder, table)
    shutil.copytree(folder, folder.with_name("copy"))
    read.clear()
    for _ in range(2):
        assert look(folder.with_name("copy"), table) == first == look(folder, table)
        assert len(read) == COUNT
    assert table.stat().st_size == 64 + 2 * COUNT * 32


def test_a_file_that_was_just_written_is_not_trusted_by_its_date(folder, table, read, monkeypatch):
    monkeypatch.setattr(module, "_FRESH", 10**15)
    first = look(folder, table)
    assert not table.exists()
    read.clear()
    assert look(folder, table) == first and len(read) == COUNT


@pytest.mark.parametrize("where", [0, 40, 70, -1])
def test_a_damaged_table_is_made_again(folder, table, read, where):
    first = look(folder, table)
    whole = bytearray(table.read_bytes())
    damaged = bytes([*whole[:where], whole[where] ^ 1, *whole[where:][1:]])
    for content in (damaged, whole[:-3], whole[:50], b""):
        table.write_bytes(content)
        read.clear()
        assert look(folder, table) == first and len(read) == COUNT
        assert table.read_bytes() == whole


def test_what_cannot_be_remembered_is_read(folder, table, read):
    first = look(folder, None)
    table.parent.write_text("no folder")
    assert look(folder, table) == first
    assert len(read) == 2 * COUNT


def test_what_was_read_before_a_signal_is_remembered(folder, table, read, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 30)
    ticks = []
    look(folder, None, ticks)
    assert ticks == [(30, COUNT), (60, COUNT), (90, COUNT)]

    def stop(done, total):
        if done == 60:
            raise KeyboardInterrupt

    dataset = FileDataset(folder, [(f"{index}.jpg", -1) for index in range(COUNT)])
    with pytest.raises(KeyboardInterrupt):
        list(identities(dataset, table, 2, stop))
    read.clear()
    look(folder, table)
    assert len(read) == COUNT - 60


def test_two_processes_add_to_one_table(folder, table, read):
    """Here one has opened it before the other has saved."""
    shutil.copytree(folder, folder.with_name("copy"))
    mine = module.FileDigests(table)
    look(folder, table)
    for index in range(COUNT):
        path = folder.with_name("copy") / f"{index}.jpg"
        mine.of(str(path), path.stat())
    mine.keep()
    read.clear()
    look(folder, table)
    look(folder.with_name("copy"), table)
    assert read == []


def test_a_lock_is_waited_for_no_longer_than_said(tmp_path):
    path, held, release = tmp_path / "lock", Event(), Event()

    def hold():
        with path.open("w") as file:
            assert try_lock(file)
            held.set()
            release.wait(30)

    thread = Thread(target=hold)
    thread.start()
    assert held.wait(30)
    with path.open("w") as file:
        assert not try_lock(file) and not try_lock(file, seconds=0.1)
        release.set()
        assert try_lock(file, seconds=30)
    thread.join(30)
