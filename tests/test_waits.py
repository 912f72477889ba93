"""Every wait in the source has a timeout, or a reason why none is needed."""

import ast
from pathlib import Path

import pytest

import ssl_seg

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])

# waits for as long as it takes when they are called with so many arguments, `self` not counted
ENDLESS = {
    "wait": 0,
    "wait_for": 1,
    "join": 0,
    "get": 0,
    "result": 0,
    "acquire": 0,
    "select": 0,
    "poll": 0,
    "communicate": 0,
    "as_completed": 1,
}
# their timeout is said elsewhere, if at all
ALWAYS = {
    *("recv", "recvfrom", "accept", "sendall", "connect", "makefile"),
    *("flock", "lockf", "waitpid", "wait3", "sleep", "pause", "input"),
    *("barrier", "monitored_barrier", "all_reduce", "all_gather", "broadcast", "reduce", "scatter"),
    *("all_gather_object", "broadcast_object_list", "gather_object", "init_process_group", "new_group"),
    *("run", "call", "check_call", "check_output", "Popen", "create_connection", "urlopen", "urlretrieve"),
    *("ThreadPoolExecutor", "ProcessPoolExecutor", "Thread", "Timer", "PartialState"),
}
# words of the above that mean something else in some modules
ONLY = {
    "run": ("subprocess",),
    "call": ("subprocess",),
    "reduce": ("dist",),
    "scatter": ("dist",),
    "broadcast": ("dist",),
    "barrier": ("dist",),
    "all_gather": ("dist",),
    "connect": ("line", "self._line", "socket"),
    "wait": None,
}

SIMULATED = "threads of one process; every wait inside them has a timeout"
EXCHANGE = "the group of processes has a timeout: `timeout()` in engine/process_group.py"
ALLOWED = {
    ("testing/ranks.py", "Thread"): SIMULATED,
    ("testing/ranks.py", "join"): SIMULATED,
    ("workflows/trial.py", "get"): "a context variable",
    ("nn/sync_batch_norm.py", "all_reduce"): EXCHANGE,
    ("nn/sync_batch_norm.py", "all_gather"): EXCHANGE,
    ("distributed/collectives.py", "all_reduce"): EXCHANGE,
    ("distributed/collectives.py", "all_gather"): EXCHANGE,
    ("distributed/agreement.py", "all_reduce"): EXCHANGE,
    ("distributed/agreement.py", "all_gather"): EXCHANGE,
    ("engine/device.py", "all_reduce"): EXCHANGE,
    ("engine/device.py", "broadcast"): EXCHANGE,
    ("engine/device.py", "barrier"): EXCHANGE,
    (
        "utils/threads.py",
        "ThreadPoolExecutor",
    ): "of checkpoints: ends with the loop, when all is written; of images: reads files",
    ("engine/checkpoint_writer.py", "result"): "for the disk, as for every file that this process writes",
    ("engine/process_group.py", "all_gather"): EXCHANGE,
    ("engine/process_group.py", "PartialState"): "alone it joins nobody; of several it is given a timeout",
    (
        "distributed/connection.py",
        "recv",
    ): "the socket has a timeout: _WRITE_TIMEOUT_SECONDS, or the rest of _HELLO_TIMEOUT_SECONDS",
    ("distributed/connection.py", "sendall"): "the socket has a timeout: _WRITE_TIMEOUT_SECONDS",
    ("distributed/connection.py", "accept"): "the socket has a timeout: the rest of _CONNECT_TIMEOUT_SECONDS",
    ("distributed/failure_monitor.py", "Thread"): "a daemon: nobody waits for its end",
    ("distributed/failure_monitor.py", "Timer"): "a daemon: nobody waits for its end",
    ("data/shards/remote.py", "Thread"): "a daemon: its progress is watched",
    ("data/files.py", "get"): "a context variable",
    ("distributed/agreement.py", "broadcast"): EXCHANGE,
    ("data/file_digests.py", "get"): "a context variable",
    ("commands/from_python.py", "get"): "a context variable",
    ("utils/progress.py", "get"): "a context variable",
    ("utils/lock.py", "flock"): "LOCK_NB: it does not wait",
    ("utils/lock.py", "sleep"): "in a loop with a deadline",
    (
        "study/fork_server.py",
        "Popen",
    ): "its first answer is waited for with a timeout; it ends with the study",
    ("study/fork_server.py", "recv"): "of the server: it ends with the study; of the study: after `select`",
    ("study/fork_server.py", "waitpid"): "the run has ended: `waitid` says so",
    ("study/fork_server.py", "wait"): "for a run that is at work, as a program's in study/runner.py",
    ("study/launchers.py", "poll"): "of a run: it looks, and does not wait",
    ("study/launchers.py", "sleep"): "in a loop over runs that are at work, or with a deadline",
    ("study/runner.py", "Popen"): "its end is waited for in `_wait_for`, which ends after a signal",
    ("utils/child_process.py", "Popen"): "its end is waited for in the same function",
}


def waits(tree, pure=False):
    """(line, name, call) of everything that may wait without an end; `pure`: in a module that reads files."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, _, name = ast.unparse(node.func).rpartition(".")
        if name in ONLY and ONLY[name] is not None and owner.rpartition(".")[2] not in ONLY[name]:
            continue
        if name == "ThreadPoolExecutor" and pure:
            continue  # its threads read files and nothing else: they wait for no other process
        timeout = any(keyword.arg in ("timeout", "timeout_s") for keyword in node.keywords)
        endless = name in ENDLESS and owner and len(node.args) <= ENDLESS[name] and not node.keywords
        if not timeout and (name in ALWAYS or endless):
            yield node.lineno, name, ast.unparse(node)


def waits_in(path):
    return waits(ast.parse(path.read_text()), pure=place(path).startswith(("data/", "datasets/")))


def place(path):
    return path.relative_to(ROOT).as_posix().removeprefix("src/ssl_seg/")


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_no_wait_is_without_an_end(path):
    found = [
        f"{place(path)}:{line}: {call}"
        for line, name, call in waits_in(path)
        if (place(path), name) not in ALLOWED
    ]
    assert found == []


def test_every_reason_is_still_needed():
    found = {(place(path), name) for path in SOURCES for _, name, _ in waits_in(path)}
    assert sorted(set(ALLOWED) - found) == []


@pytest.mark.parametrize(
    "code",
    [
        "child.wait()",
        "condition.wait_for(lambda: done)",
        "thread.join()",
        "queue.get()",
        "future.result()",
        "lock.acquire()",
        "selector.select()",
        "process.communicate()",
        "line.recv(10)",
        "fcntl.flock(file, fcntl.LOCK_EX)",
        "subprocess.run(['x'])",
        "dist.barrier()",
        "dist.all_reduce(x)",
        "dist.new_group()",
        "urlopen('x')",
        "while True:\n    sleep(1)",
    ],
)
def test_waits_are_recognised(code):
    assert len(list(waits(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "child.wait(1)",
        "condition.wait_for(lambda: done, 1)",
        "thread.join(1)",
        "', '.join(names)",
        "values.get('x')",
        "future.result(timeout=3)",
        "selector.select(1.0)",
        "subprocess.run(['x'], timeout=5)",
        "plan.run(start)",
        "np.broadcast(x)",
        "dist.new_group(timeout=t)",
    ],
)
def test_what_ends_is_no_fault(code):
    assert list(waits(ast.parse(code))) == []
