"""What a user's own program does with weights: loads them through the library, and computes."""

import sys
from pathlib import Path

import numpy as np
import torch

import ssl_seg
from ssl_seg.errors import SslSegError, render


def logits() -> None:
    """Load `argv[2]`, and write what it makes of fixed images into `argv[3]`; errors end as those of commands."""
    run, out = map(Path, sys.argv[2:4])
    try:
        network, metadata = ssl_seg.load(run)
    except SslSegError as error:
        print(render(error), file=sys.stderr)
        sys.exit(error.code)
    images = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    with torch.no_grad():
        made = network(images)
    arrays = made if isinstance(made, list) else [made]
    metadata = np.array(repr(sorted(metadata.items())))
    np.savez(out, metadata, *[array.numpy() for array in arrays])
