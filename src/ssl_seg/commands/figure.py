"""`ssl-seg figure`: figures of runs and networks."""

import typer

from ssl_seg.commands import (
    figure_architecture,
    figure_confusion,
    figure_curves,
    figure_lr,
    figure_masks,
    figure_tsne,
    figure_views,
)
from ssl_seg.commands.help import Command

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Draw figures of runs and networks.")
app.command("tsne", cls=Command)(figure_tsne.tsne)
app.command("curves", cls=Command)(figure_curves.curves)
app.command("confusion", cls=Command)(figure_confusion.confusion)
app.command("masks", cls=Command)(figure_masks.masks)
app.command("views", cls=Command)(figure_views.views)
app.command("lr", cls=Command, context_settings=figure_lr.SETTINGS)(figure_lr.lr)
app.command("architecture", cls=Command)(figure_architecture.architecture)
