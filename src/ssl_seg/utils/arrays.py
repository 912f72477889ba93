"""Reading NPZ files, which may be damaged or somebody else's."""

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from struct import error as StructError
from typing import Any

import numpy as np
from numpy.typing import NDArray

# what zipfile, zlib and NumPy raise where a bit has flipped; a RuntimeError says "encrypted"
_DAMAGE = (
    *(ValueError, TypeError, KeyError, EOFError, SyntaxError, RuntimeError, OverflowError, MemoryError),
    *(StructError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """The arrays of these names, whole in memory; nothing in the file is executed.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or has no array of such a name.
    """
    with path.open("rb") as raw:
        try:
            with np.load(raw, allow_pickle=False) as file:
                return [file[name] for name in names]
        except (*_DAMAGE, OSError) as error:
            raise ValueError(f"not an NPZ file with {', '.join(names)}: {error}") from error
