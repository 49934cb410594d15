"""A package of somebody else that offers a tiling: a real distribution with an entry point, put on the path."""

from pathlib import Path

import pytest

MODULE = """
from wdstream.tiling.policy import TilingPolicy

def make(columns=1, reading_order="ltr", resample="bicubic"):
    return TilingPolicy(
        kind="grid", grid=(columns, 2), tile_size=64, reading_order=reading_order, overview_size=32, resample=resample
    )
"""


def install_tiling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a distribution on the path that offers the tiling `halves`."""
    (folder / "other_tiling.py").write_text(MODULE)
    metadata = folder / "other_tiling-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-tiling\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[wdstream.tiling]\nhalves = other_tiling:make\n")
    monkeypatch.syspath_prepend(str(folder))
