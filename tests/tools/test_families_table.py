"""docs/families.md says what the code says."""

from pathlib import Path

import pytest

import families_table
from wdstream.families.registry import FAMILIES


def test_document_is_current() -> None:
    written = families_table.OUT.read_text(encoding="utf-8")
    assert written == families_table.table(), "run: python tools/families_table.py"
    rows = {line.split("`")[1]: line for line in written.splitlines() if line.startswith("| `")}
    assert set(rows) == set(FAMILIES)
    assert " 2,774 / 11,088 " in rows["qwen2_5_vl"]  # 2,772 placeholders, and the ids around them


def test_check_says_when_it_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families_table, "table", lambda: "new\n")
    monkeypatch.setattr(families_table, "ROOT", tmp_path)
    monkeypatch.setattr(families_table, "OUT", tmp_path / "docs" / "families.md")
    monkeypatch.setattr("sys.argv", ["families_table.py", "--check"])
    assert families_table.main() == 1
    monkeypatch.setattr("sys.argv", ["families_table.py"])
    assert families_table.main() == 0
    monkeypatch.setattr("sys.argv", ["families_table.py", "--check"])
    assert families_table.main() == 0
