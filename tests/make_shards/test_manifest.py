import json
import re
from pathlib import Path

import pytest

from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.manifest import JOB_FILE


@pytest.mark.parametrize("retries", [False, True])
def test_a_folder_of_other_rules_is_not_continued(tmp_path: Path, retries: bool) -> None:
    """Its shards that are complete would keep their labels, and the others get new ones."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "rows.jsonl").write_text('{"text": "a page"}\n')
    make_shards(raw, out, options=MakeShardsOptions(workers=1))
    manifest = json.loads((out / JOB_FILE).read_text())
    assert manifest["version"] == 2
    before = json.dumps({**manifest, "version": 1})
    (out / JOB_FILE).write_text(before)
    expected = re.escape("make-shards.json is of version 1, this program writes 2: it reads raw pages by other rules")
    with pytest.raises(ConfigError, match=expected):
        make_shards(raw, out, options=MakeShardsOptions(workers=1, retry_quarantined=retries))
    assert (out / JOB_FILE).read_text() == before
    make_shards(raw, out, options=MakeShardsOptions(workers=1, overwrite=True))
    assert json.loads((out / JOB_FILE).read_text()) == manifest


def test_other_options_are_taken_where_nothing_was_made(tmp_path: Path) -> None:
    """What the reasons of a first try ask for works in the same folder; once there is a shard, it is asked for."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "rows.jsonl").write_text('{"ocr": "a page"}\n')
    with pytest.raises(ShardError, match="or with the option that helps"):
        make_shards(raw, out, options=MakeShardsOptions(workers=1)).check()
    assert make_shards(raw, out, options=MakeShardsOptions(workers=1, map=("text=ocr",))).num_pages == 1
    with pytest.raises(ConfigError, match="map was \\['text=ocr'\\], is None"):
        make_shards(raw, out, options=MakeShardsOptions(workers=1))
