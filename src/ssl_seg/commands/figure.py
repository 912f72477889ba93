"""`ssl-seg figure`: pictures of finished runs, each as PNG and SVG."""

import typer

from ssl_seg.commands import figure_curves, figure_tsne

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pictures of runs, as PNG and SVG.")
app.command("tsne")(figure_tsne.tsne)
app.command("curves")(figure_curves.curves)
