"""Growing files: torn lines, and cutting back to a checkpoint."""

from pathlib import Path

from wdstream.storage.json_lines import LineFile, cut_back, read_lines


def test_append_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert list(read_lines(path)) == []
    LineFile(path).append({"step": 0, "key": "é\n"})
    LineFile(path).append({"step": 1})
    assert path.read_bytes() == '{"step": 0, "key": "é\\n"}\n{"step": 1}\n'.encode()
    assert list(read_lines(path)) == [{"step": 0, "key": "é\n"}, {"step": 1}]


def test_cut_back_drops_later_steps_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 3}\n{"step": 4}\n{"step": 5}\n{"ste')
    cut_back(path, next_step=5)
    assert path.read_text() == '{"step": 3}\n{"step": 4}\n'
    cut_back(tmp_path / "none.jsonl", next_step=5)
    assert not (tmp_path / "none.jsonl").exists()
