"""What energon wants next to tars: its tables, by sqlite and tarfile; energon itself is in test_energon_interop.py."""

import json
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.helpers.command import run
from tests.helpers.mixed_shards import tree_of, write_mixed
from wdstream.curation.export.energon import export_energon
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError
from wdstream.make_shards import index_folder
from wdstream.shards.describe import TarRules


def table(folder: Path, columns: str, name: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / ".nv-meta/index.sqlite") as database:
        return database.execute(f"SELECT {columns} FROM {name} ORDER BY rowid").fetchall()


def test_every_sample_and_part_is_where_the_tables_say(tmp_path: Path) -> None:
    folder = write_mixed(tmp_path / "in", count=24)
    before = tree_of(folder)
    report = export_energon(folder, workers=1)
    assert (report.num_shards, report.num_samples) == (3, 24)
    parts = table(folder, "tar_file_id, part_name, content_byte_offset, content_byte_size", "sample_parts")
    found = []
    for number, tar in enumerate(sorted(folder.glob("*.tar"))):
        with tarfile.open(tar) as file:
            found += [(number, m.name.partition(".")[2], m.offset_data, m.size) for m in file]
    assert parts == found
    keys = table(folder, "sample_key, sample_index", "samples")
    assert keys == [(f"a/p{number:04d}", number % 10) for number in range(24)]
    info = json.loads((folder / ".nv-meta/.info.json").read_text())
    assert info["shard_counts"] == {"shard-000000.tar": 10, "shard-000001.tar": 10, "shard-000002.tar": 4}
    splits = yaml.safe_load((folder / ".nv-meta/split.yaml").read_text())
    assert splits["split_parts"] == {"train": sorted(info["shard_counts"]), "val": [], "test": []}
    assert {name: digest for name, digest in tree_of(folder).items() if not name.startswith(".nv-meta")} == before


def test_again_is_the_same_bytes(tmp_path: Path) -> None:
    folder = write_mixed(tmp_path / "in", count=12)
    export_energon(folder, workers=1)
    before = tree_of(folder)
    (folder / ".nv-meta/index.sqlite").unlink()
    export_energon(folder, workers=2)
    assert tree_of(folder) == before


def test_what_a_kill_left_in_a_copy_is_no_obstacle(tmp_path: Path) -> None:
    folder, out = write_mixed(tmp_path / "in", count=12), tmp_path / "out"
    assert run("export", "energon", folder, out).returncode == 0
    before = tree_of(out)
    (out / ".nv-meta").rename(out / ".nv-meta.tmp")
    (out / "index" / "rebuild.tmp").mkdir()
    done = run("export", "energon", folder, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree_of(out) == before


def test_what_energon_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    folder = write_mixed(tmp_path / "in", count=12)
    prefixed = tmp_path / "prefixed"
    prefixed.mkdir()
    shutil.copy(folder / "shard-000000.tar", prefixed)
    index_folder(prefixed, rules=TarRules(prefix_keys=True), workers=1)
    with pytest.raises(ConfigError, match="the index has other keys"):
        export_energon(prefixed, workers=1)
    assert not (prefixed / ".nv-meta").exists()
    (folder / ".nv-meta").mkdir()
    with pytest.raises(ConfigError, match="energon prepared this folder already"):
        export_energon(folder, workers=1)
    (folder / ".nv-meta").rmdir()
    split_shards(folder, SplitOptions.of({"holdout": "25%", "by": "page"}))
    with pytest.raises(ConfigError, match="wdstream reshard --split train"):
        export_energon(folder, workers=1)
