"""Reading NPZ files: arrays, or one kind of error, whatever is wrong with the file."""

from random import Random

import numpy as np
import pytest

from ssl_seg.utils.arrays import read_arrays


@pytest.fixture(params=[np.savez, np.savez_compressed])
def file(request, tmp_path):
    request.param(tmp_path / "a.npz", numbers=np.arange(60.0).reshape(6, 10), names=np.array(["a", "b"]))
    return tmp_path / "a.npz"


def test_arrays_are_read_in_the_order_asked_for(file):
    names, numbers = read_arrays(file, ["names", "numbers"])
    assert names.tolist() == ["a", "b"]
    assert numbers.shape == (6, 10) and numbers[5, 9] == 59


def test_damage_is_a_value_error_or_changes_nothing(file):
    whole, random = file.read_bytes(), Random(0)
    expected = read_arrays(file, ["names", "numbers"])
    noticed = 0
    for bit in random.sample(range(8 * len(whole)), 1500):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(hurt)
        try:
            found = read_arrays(file, ["names", "numbers"])
        except ValueError:
            noticed += 1
        else:
            assert all(map(np.array_equal, found, expected))
    assert noticed > 500
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            read_arrays(file, ["names", "numbers"])


def test_what_is_not_there(file, tmp_path):
    with pytest.raises(ValueError, match="labels"):
        read_arrays(file, ["labels"])
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", ["labels"])


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array([print], dtype=object))
    with pytest.raises(ValueError):
        read_arrays(tmp_path / "a.npz", ["names"])
