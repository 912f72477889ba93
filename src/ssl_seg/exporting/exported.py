"""The result of an export; loads no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        includes_head: whether the head is in it.
        max_difference: largest difference of outputs, relative to the largest output.
        code: Python code that loads it.
        notes: limitations, one sentence each.
    """

    includes_head: bool
    max_difference: float
    code: str
    notes: list[str]
