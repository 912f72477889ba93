"""The program: `ssl-seg`, or `python -m ssl_seg`, as `torchrun -m` and `accelerate launch -m` need it.

It listens to signals before it loads anything: Ctrl-C in the first second is no traceback either.
"""

from ssl_seg.commands import process


def main() -> None:
    """Load the command line and run it."""
    process.run_and_exit(_load_and_run)


def _load_and_run() -> None:
    from ssl_seg.cli import run

    run()


if __name__ == "__main__":
    main()
