"""Forks processes that have imported everything already: one line of JSON asks, one answers.

    {"file": ..., "words": [...], "environment": {...}, "output": ...} -> {"pid": ...}
    {"pid": ..., "seconds": ...} -> {"code": ...}, minus the signal, or null if it had to be killed

`file` is run with `words` as its arguments; without one it is the command line of ssl-seg.
"""

import json
import os
import runpy
import signal
import sys
import time
import traceback


def serve(requests, replies):
    children = set()
    try:
        for line in requests:
            request = json.loads(line)
            if "words" in request:
                pid = os.fork()
                if pid == 0:
                    child(request)
                children.add(pid)
                answer = {"pid": pid}
            else:
                answer = {"code": wait(request["pid"], request["seconds"])}
                children.discard(request["pid"])
            print(json.dumps(answer), file=replies, flush=True)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def wait(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def child(request):
    code = 1
    try:
        handle = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(handle, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
        os.environ.update(request["environment"])
        sys.argv = ["ssl-seg", *request["words"]]
        if request["file"]:
            runpy.run_path(request["file"], run_name="__main__")
        else:
            from ssl_seg.cli import main

            main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def preload():
    """Import what a command imports; nothing is computed, and no thread is started."""
    import accelerate.state
    import matplotlib.figure
    import rich.console
    import torch
    import torch._dynamo  # torch's optimizers want it
    import torch.nn.parallel.distributed
    from pydantic import TypeAdapter

    TypeAdapter(int).validate_python("1")
    torch.set_num_threads(1)
    import timm

    if os.environ.get("PRELOAD", "1") == "1":
        from ssl_seg.plugins import load_plugins

        load_plugins()
    return accelerate, matplotlib, rich, timm, TypeAdapter


if __name__ == "__main__":
    preload()
    replies, sys.stdout = sys.stdout, sys.stderr
    print("{}", file=replies, flush=True)
    serve(sys.stdin, replies)
