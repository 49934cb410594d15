"""New sets at a URL: the objects are the files of a folder; refused where something else is; killed and run again.

Spans: curation, storage.
"""

from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.curation.export.tables import export_tables
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError
from wdstream.shards.reader import Shards

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")
OPTIONS = ReshardOptions(pages=4, shuffle=True, uniform=True, workers=1)


def output_of(folder: Path) -> dict[str, bytes]:
    """The files of a job's output, without what only processes of this machine look at."""
    return {name: data for name, data in files_of(folder).items() if name.rpartition("/")[2] not in ("lock", "workers")}


def test_new_shards_on_a_store_are_those_of_a_folder(
    small_shards: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    source = send(s3_server, small_shards, bucket, "in")
    here = reshard([small_shards], tmp_path / "out", options=OPTIONS)
    there = reshard([source], f"s3://{bucket}/out", options=OPTIONS)
    assert s3_server.objects(bucket, "out") == output_of(tmp_path / "out")
    assert (there.digest, there.num_bytes, there.notes) == (here.digest, here.num_bytes, here.notes)
    assert there.out == f"s3://{bucket}/out" and not s3_server.unfinished(bucket)
    assert Shards.open(f"s3://{bucket}/out").read(11) == Shards.open(tmp_path / "out").read(11)
    for name in ("shard-000003.tar", ".reshard/shard-000001.tar.json", "index/index.json"):  # made again
        s3_server.call("delete_object", Bucket=bucket, Key=f"out/{name}")
    reshard([source], f"s3://{bucket}/out", options=OPTIONS)
    assert s3_server.objects(bucket, "out") == output_of(tmp_path / "out")


def test_what_is_there_is_not_written_over(small_shards: Path, s3_server: S3Server, bucket: str) -> None:
    source = send(s3_server, small_shards, bucket, "in")
    for out in (source, f"s3://{bucket}", f"{source}/new"):
        with pytest.raises(ConfigError, match="into it or above it"):
            reshard([source], out, options=OPTIONS)
    with pytest.raises(ConfigError, match=r"holds 1 files that reshard did not write \(x\.tar"):
        s3_server.call("put_object", Bucket=bucket, Key="other/x.tar", Body=b"")
        reshard([source], f"s3://{bucket}/other", options=OPTIONS)
    reshard([source], f"s3://{bucket}/out", options=ReshardOptions(pages=15, workers=1))
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/out was made by reshard from something else"):
        reshard([source], f"s3://{bucket}/out", options=OPTIONS)


def test_tables_on_a_store_are_those_of_a_folder(mixed: Path, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    source = send(s3_server, mixed, bucket, "in")
    for kind in ("parquet", "datasets"):
        here = export_tables(mixed, tmp_path / kind, kind)
        there = export_tables(source, f"s3://{bucket}/{kind}", kind)
        assert s3_server.objects(bucket, kind) == output_of(tmp_path / kind)
        assert (there.pages, there.num_bytes) == (here.pages, here.num_bytes)
    export_tables(source, f"s3://{bucket}/parquet", "parquet")  # all there
    assert s3_server.objects(bucket, "parquet") == output_of(tmp_path / "parquet")
