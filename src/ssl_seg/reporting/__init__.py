"""One self-contained page from finished runs, and the same as Markdown and LaTeX."""
