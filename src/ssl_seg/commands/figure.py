"""`ssl-seg figure`: pictures of runs and networks, each as PNG and SVG."""

import typer

from ssl_seg.commands import figure_architecture

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pictures of runs and networks.")
app.command("architecture")(figure_architecture.architecture)
