"""What the author of a study writes in its report: the table `[report]` of the study's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssl_seg.errors import did_you_mean

SECTIONS = (
    "introduction",
    "method",
    "training",
    "embeddings",
    "classes",
    "masks",
    "sam",
    "architectures",
    "discussion",
)


@dataclass(frozen=True)
class ReportText:
    """The author's own words.

    Attributes:
        title, question: in place of the computed ones; empty: those.
        authors: shown below the title.
        sections: name, of `SECTIONS` -> Markdown. Introduction and discussion are sections of their own; the others
            are shown at the start of the section of that name.
    """

    title: str = ""
    question: str = ""
    authors: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "ReportText":
        """The text from the table of a study's file, or from `study.json`.

        Raises:
            ValueError: a key that does not exist, or a value of another type; its `args` are the message and the key.
        """
        known = ("title", "question", "authors", *SECTIONS)
        for key, value in table.items():
            if key not in known:
                raise ValueError(f"unknown key {key!r}{did_you_mean(key, known)}", key)
            if key != "authors" and not isinstance(value, str):
                raise ValueError(f"{key!r} must be a text, got {value!r}", key)
        authors = table.get("authors", [])
        if not isinstance(authors, list) or not all(isinstance(name, str) for name in authors):
            raise ValueError(f"'authors' must be a list of texts, got {authors!r}", "authors")
        lines = {key: " ".join(table.get(key, "").split()) for key in ("title", "question")}
        sections = {name: table[name] for name in SECTIONS if table.get(name, "").strip()}
        return cls(**lines, authors=[" ".join(name.split()) for name in authors], sections=sections)

    def table(self) -> dict[str, Any]:
        """What `read` reads."""
        lines = {"title": self.title, "question": self.question, "authors": self.authors}
        return {key: value for key, value in lines.items() if value} | self.sections
