"""The program: `ssl-seg`, or `python -m ssl_seg`, as `torchrun -m` and `accelerate launch -m` need it.

It listens to signals before it loads anything: Ctrl-C in the first second is no traceback either.
"""

import sys

from ssl_seg.commands import process


def main() -> None:
    """Load the command line and run it."""
    process.run_and_exit(_load_and_run)


def serve_runs() -> None:
    """Be the process whose forks are the runs of a study."""
    from ssl_seg.study.fork_server import serve

    sys.argv[0] = __file__
    serve(_load_all, main)


def _load_all() -> None:
    """Import what runs need, but no installed plugin: it may start threads."""
    import ssl_seg.cli
    import ssl_seg.workflows.run_imports  # noqa: F401


def _load_and_run() -> None:
    from ssl_seg.cli import run

    run()


if __name__ == "__main__":
    main()
