"""`ssl-seg figure`: pictures of runs and networks."""

import typer

from ssl_seg.commands import figure_architecture, figure_curves, figure_masks, figure_tsne, figure_views

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pictures of runs and networks.")
app.command("tsne")(figure_tsne.tsne)
app.command("curves")(figure_curves.curves)
app.command("masks")(figure_masks.masks)
app.command("views")(figure_views.views)
app.command("architecture")(figure_architecture.architecture)
