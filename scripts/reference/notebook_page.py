"""A notebook as a page: its text, its code, and where the file is."""

import json
from pathlib import Path


def notebook_page(path: Path, name: str) -> str:
    """The cells of a notebook as Markdown; each runs after the ones before it.

    Args:
        path: of the notebook.
        name: how a reader finds it in the repository.
    """
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).strip()
        # not `python`: a block of that kind runs by itself
        parts.append(text if cell["cell_type"] == "markdown" else f"```py\n{text}\n```")
    parts.insert(1, f"This page is the notebook `{name}` of the repository, without its outputs.")
    return "\n\n".join(parts)
