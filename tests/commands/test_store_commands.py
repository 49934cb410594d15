"""Commands that look at shards of a store: they print what they print of a folder.

Spans: commands, curation, verify.
"""

from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")


def printed(*words: str | Path) -> str:
    """What a command prints that ends well."""
    done = run(*words)
    assert done.returncode == 0, done
    return done.stdout


def test_shards_on_a_store_are_looked_at(small_shards: Path, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    url = send(s3_server, small_shards, bucket, "x/shards")
    for words in (["verify", "--workers", "1", "--json"], ["info", "--top", "2", "--json"]):
        here, there = (printed(words[0], path, *words[1:]) for path in (str(small_shards), url))
        assert there.replace(url, str(small_shards)) == here
    printed("extract", small_shards, "page-0*", "--out", tmp_path / "here")
    printed("extract", url, "page-0*", "--out", f"s3://{bucket}/there")
    assert s3_server.objects(bucket, "there") == files_of(tmp_path / "here")
