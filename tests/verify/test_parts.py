"""Parts of a check, kept in a folder or store and brought together: the report of one run, or which parts are missing.

Spans: verify, storage.
"""

import shutil
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import send
from tests.helpers.verify_shards import flip
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import index_folder
from wdstream.verify.job import verify_part, verify_shards
from wdstream.verify.options import VerifyOptions

OPTIONS = VerifyOptions(deep=True, workers=1)


@pytest.fixture
def doubtful(sound: Path, copies: Path, tmp_path: Path) -> Path:
    """Shards with copies of pages in several of them, a flipped byte, and a tar that is not listed."""
    folder = tmp_path / "set"
    folder.mkdir()
    for tar in copies.glob("*.tar"):
        shutil.copy(tar, folder)
    index_folder(folder, workers=1)
    flip(folder / "shard-000000.tar", 700)
    shutil.copy(sound / "shard-000002.tar", folder / "stray.tar")
    return folder


def test_parts_give_the_report_of_one_run(doubtful: Path, tmp_path: Path, s3_server: S3Server, bucket: str) -> None:
    url = send(s3_server, doubtful, bucket, "set")
    for shards, place in ((doubtful, tmp_path / "results"), (url, f"s3://{bucket}/results")):
        kept = OPTIONS.replace(results=str(place))
        assert verify_part(shards, options=kept.replace(part="2/3")).out == str(place)
        with pytest.raises(ShardError, match=r"2 of 3 parts are missing.*run --part 1/3, 3/3 again, then --merge"):
            verify_shards(shards, options=kept.replace(merge=True))
        for part in ("1/3", "3/3"):
            verify_part(shards, options=kept.replace(part=part))
        whole = verify_shards(shards, options=OPTIONS)
        assert verify_shards(shards, options=kept.replace(merge=True)) == whole
        assert whole.counts["checksum"] == 1 and whole.counts["not indexed"] == 1 and whole.counts["near duplicate"]
        verify_part(shards, options=kept.replace(part="2/2"))  # begun in another number: those that are complete count
        assert verify_shards(shards, options=kept.replace(merge=True)) == whole
        with pytest.raises(ShardError, match="no part of this check; run --part 1/N to N/N"):
            verify_shards(shards, options=kept.replace(merge=True, deep=False))
    places = (str(tmp_path / "results"), f"s3://{bucket}/results")  # the same part twice does no harm: the last counts
    assert verify_shards(doubtful, options=OPTIONS.replace(merge_from=places)).counts == whole.counts


def test_what_is_asked_for_wrongly(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="results is to say where parts keep what they found"):
        OPTIONS.replace(part="1/2")
    with pytest.raises(ConfigError, match="verify_part does a part of it"):
        verify_shards(sound, options=OPTIONS.replace(part="1/2", results=str(tmp_path)))
    with pytest.raises(ConfigError, match="verify_shards does the whole"):
        verify_part(sound, options=OPTIONS)
    done = run("verify", sound, "--part", "1/2", "--results", tmp_path / "new", "--workers", "1")
    assert done.returncode == 0 and "part 1/2 is complete: 2 shards, 4 pages" in done.stdout, done
