"""A disk that is full when a command writes what it was asked for: exit 6, and no part of it under a final name."""

import pytest

from benchmarks.faults.disk import new_place, trial, uses_of

# what is done to the disk -> what has to be in the path; the last of these is let fail, for once and for good
USES = {
    "predict": {"write": "out/.p.csv", "sync": "out/.p.csv", "rename": "out/p.csv"},
    "predict masks": {"open": "_mask.png", "write": "_mask.png", "rename": "_mask.png"},
    "segment": {"write": "masks/", "rename": "masks/", "sync": "model.safetensors"},
    "embed": {"open": "out/.f.npz", "write": "out/.f.npz", "rename": "out/f.npz"},
    "export": {"make": "out/.hub", "write": "model.safetensors", "rename": "out/hub"},
    "report": {"write": "out/.r.html", "rename": "out/r.md", "sync": "r_tables.tex"},
}


def number_of(lab, command, what, part):
    """The last time that a command does this to such a path, counted from 1 among all uses of the disk."""
    found = [at for at, (done, path) in enumerate(uses_of(lab, command), 1) if done == what and part in path]
    assert found, (command, what, part, uses_of(lab, command))
    return found[-1]


@pytest.mark.parametrize("stays", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize(
    ("command", "what", "part"),
    [(command, what, part) for command, uses in USES.items() for what, part in uses.items()],
)
def test_a_disk_that_is_full_for_an_output(command, what, part, stays, lab):
    number = number_of(lab, command, what, part)
    assert trial(lab, command, number, stays) == ""


@pytest.mark.parametrize(
    ("command", "part"), [("predict", "p.csv"), ("predict masks", "_mask.png"), ("embed", "f.npz")]
)
def test_nothing_of_it_has_its_final_name(command, part, lab):
    """The first write fails, and with it all that follow."""
    from benchmarks.faults.disk import FILL, run_at

    uses = uses_of(lab, command)
    number = next(
        at
        for at, (done, path) in enumerate(uses, 1)
        if done == "write" and part in path and path.startswith("out/")
    )
    for _ in range(5):  # a slow machine writes the cache's list of files more often, and counts on
        place = new_place(lab, command)
        ended = run_at(lab, command, place, [(FILL, [str(place), number, True])])
        assert ended.code == 6, ended.output
        if "cannot write the image cache" not in ended.output:
            break
    assert "error[6] cannot write out/" in ended.output and "No space left on device" in ended.output
    assert [path for path in (place / "out").rglob("*") if path.is_file()] == []
