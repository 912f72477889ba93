"""What an export gives back; it loads no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """What has been written.

    Attributes:
        whole: whether the head is in it.
        difference: largest difference of outputs in the comparison, as a share of the largest output.
        code: Python that loads it.
        notes: what to know of it, in sentences.
    """

    whole: bool
    difference: float
    code: str
    notes: list[str]
