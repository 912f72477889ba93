"""Writes the pages of docs/ that the code can tell itself, and refreshes what pages quote from files.

    python scripts/reference           writes what differs
    python scripts/reference --check   only says so, and ends with 1

A page quotes a whole file with a comment before the block: `<!-- whole: plugins/x/pyproject.toml -->`.
"""

import sys

from pages import ROOT, pages


def main() -> int:
    """Write or compare."""
    differing = [(p, text) for p, text in pages().items() if not p.exists() or p.read_text() != text]
    for path, text in differing:
        print(f"{path.relative_to(ROOT)} differs from the code")
        if "--check" not in sys.argv:
            path.write_text(text)
    return int("--check" in sys.argv and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
