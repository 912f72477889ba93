"""Memory of reading packed images does not depend on their number."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reading import make_rows

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_million_rows_take_the_memory_of_ten_thousand(tmp_path):
    """A fresh process opens an index whose rows point to ten images, and reads 100 batches."""
    used = []
    for count in (10_000, 1_000_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        make_rows(count, folder)
        words = [sys.executable, "-m", "benchmarks.reading", "--read", str(folder)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
        assert f"{count:,} rows" in done.stdout
        used.append(int(re.search(r"(\d+) MiB more", done.stdout)[1]))
    assert max(used) < 40 and abs(used[1] - used[0]) < 10, used  # targets alone: 8 MB of a million rows
