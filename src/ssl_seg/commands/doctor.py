"""`ssl-seg doctor`: check this machine and installation."""

import typer

from ssl_seg.utils.progress import echo


def doctor() -> None:
    """Check GPU, memory, disk and plugins.

    Exit code 6 if a check fails.
    """
    from ssl_seg.workflows.machine_checks import machine_checks

    failed = False
    for passed, name, text in machine_checks():
        failed = failed or not passed
        echo(f"{'ok' if passed else 'FAIL':<4}  {name:<12} {text}")
    if failed:
        raise typer.Exit(6)
