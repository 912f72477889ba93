"""`ssl-seg watch`: a live page of runs."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.progress import echo

if TYPE_CHECKING:
    from ssl_seg.reporting.live_server import LiveServer

_PORT = 8500


def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Runs or a study; subfolders included.")
    ] = Path(),
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0: any free one.", show_default=f"{_PORT}, or a free one"),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show runs on a page that follows their training.

    Curves, state, scores and remaining time, updated until Ctrl-C. The page is served on 127.0.0.1 only;
    from another machine: ssh -L 8500:127.0.0.1:8500 HOST
    """
    from ssl_seg.study.run_paths import find_run

    root = find_run(folder, or_study=True)
    if not root.is_dir():
        raise DataError(f"no such folder: {folder}", next="ssl-seg watch FOLDER  # of runs or of a study")
    try:
        with _server(root, port) as server:
            echo(f"{server.url}  (Ctrl-C ends it)")
            if open_page:
                import webbrowser

                webbrowser.open(server.url)
            server.serve_forever()
    except Interrupted as error:
        if error.signal != signal.SIGINT:  # Ctrl-C is how it is meant to end
            raise


def _server(root: Path, port: int | None) -> "LiveServer":
    from ssl_seg.reporting.live_server import LiveServer

    if port is not None:
        return LiveServer(root, port)
    try:
        return LiveServer(root, _PORT)
    except ResourceError:
        return LiveServer(root)
