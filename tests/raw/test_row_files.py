"""Names in rows: which file is meant, and that none outside the folder is."""

from pathlib import Path

import pytest

from wdstream.errors import RowError
from wdstream.raw.row_files import resolve_image


def test_images_are_found_below_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "sub/a.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    assert resolve_image(folder, "sub/a.png") == folder / "sub/a.png"
    assert resolve_image(folder, "inner.png") == folder / "inner.png"
    for name in ("../secret.png", "sub/../sub/a.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(RowError, match="leaves the folder of the JSONL file"):
            resolve_image(folder, name)
        assert resolve_image(folder, name, allow_outside=True).is_file()
    for name in ("absent.png", "sub", "loop.png"):
        with pytest.raises(RowError, match=r"does not exist|cannot be found"):
            resolve_image(folder, name)
    for name in ("https://example.org/a.png", "file:///etc/hostname", "data:image/png;base64,AAAA"):
        with pytest.raises(RowError, match="is a URL; fetch it first"):
            resolve_image(folder, name)
    for name in ("", "a\0b"):
        with pytest.raises(RowError, match="is not a file name"):
            resolve_image(folder, name)
    with pytest.raises(RowError, match=r"cannot be found|does not exist"):
        resolve_image(folder, "n" * 5000)
