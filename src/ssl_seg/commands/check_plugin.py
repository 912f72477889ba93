"""`python -m ssl_seg.commands.check_plugin NAME`: the conformance checks of one component."""

import sys
import traceback

from ssl_seg.commands import process
from ssl_seg.errors import PluginError, SslSegError
from ssl_seg.utils.entry_points import short_error
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.progress import echo, show_error
from ssl_seg.workflows.component_check import PASSED, check_all


def main(name: str) -> int:
    """Check every component of this name; the exit code."""
    try:
        with fenced():
            for kind in check_all(name):
                echo(f"{name} ({kind}) {PASSED}")
    except SslSegError as error:
        return _report(error)
    except AssertionError as error:
        return _report(PluginError(f"{name} failed a check: {error}"))
    except Exception as error:  # foreign code
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return _report(PluginError(f"{name}: {short_error(error)}", where=f"{frame.filename}:{frame.lineno}"))
    return 0


def _report(error: SslSegError) -> int:
    show_error(error)
    return error.code


if __name__ == "__main__":
    process.run_and_exit(lambda: sys.exit(main(sys.argv[1])))
