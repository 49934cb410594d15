"""Commands that write to a store, killed by SIGKILL at a request, and over a network of which 5 % fails: same objects.

Spans: curation, make_shards, shards, storage.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import STORE_FAULTS, FaultyProxy
from tests.helpers.killing_proxy import run_killed, serving_proxy
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.make_shards import index_folder

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")

PROGRAM = """
import sys
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.make_shards import index_folder
from pathlib import Path

def main():
    tars, tokenizer = sys.argv[1], Path(sys.argv[2])
    index_folder(tars, tokenizer, workers=int(sys.argv[3]))
    split_shards(tars, SplitOptions(holdout="5"))
    reshard([tars], tars + "-new", options=ReshardOptions(pages=4, shuffle=True, workers=int(sys.argv[3])))

if __name__ == "__main__":
    main()
"""


def wanted(tars: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """What the commands leave in folders of this machine."""
    folder = tmp_path / "set"
    shutil.copytree(tars, folder)
    index_folder(folder, model, workers=1)
    split_shards(folder, SplitOptions(holdout="5"))
    reshard([folder], tmp_path / "set-new", options=ReshardOptions(pages=4, shuffle=True, workers=1))
    files = {f"set/{name}": data for name, data in files_of(folder).items()}
    files |= {f"set-new/{name}": data for name, data in files_of(tmp_path / "set-new").items()}
    return {name: data for name, data in files.items() if name.rpartition("/")[2] not in ("lock", "workers")}


def begin(
    shards: Path, model: Path, server: S3Server, bucket: str, tmp_path: Path
) -> tuple[Path, str, dict[str, bytes]]:
    """The program, the URL of the tars that it works on, and the objects that it is to leave."""
    script, tars = tmp_path / "script.py", tmp_path / "tars"
    script.write_text(PROGRAM)
    tars.mkdir()
    for tar in shards.glob("*.tar"):
        shutil.copyfile(tar, tars / tar.name)
    return script, send(server, tars, bucket, "set"), wanted(tars, model, tmp_path)


def run(script: Path, url: str, model: Path, workers: int, moment: int, server: S3Server) -> int:
    """Requests until the end; killed before number `moment`."""
    asked, status = run_killed([sys.executable, str(script), url, str(model), str(workers)], server, moment)
    assert status == 0 if moment == 0 else status in (0, -9)
    return asked


@pytest.mark.parametrize("kills", [pytest.param(2, id="2"), pytest.param(40, id="40", marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_killed_at_a_request_the_objects_are_the_same(
    kills: int, small_shards: Path, tiny_model: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    script, url, expected = begin(small_shards, tiny_model, s3_server, bucket, tmp_path)
    for number in range(kills):
        run(script, url, tiny_model, 1 + number % 2, 30 + number * 97 % 400, s3_server)
    run(script, url, tiny_model, 1, 0, s3_server)
    found = s3_server.objects(bucket)
    assert found == expected
    assert s3_server.unfinished(bucket) == []


def test_where_requests_fail_the_objects_are_the_same(
    small_shards: Path, tiny_model: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    script, url, expected = begin(small_shards, tiny_model, s3_server, bucket, tmp_path)
    with serving_proxy(FaultyProxy(s3_server.port, rate=0.05, faults=STORE_FAULTS, seed=5)) as faulty:
        environment = {**os.environ, **s3_server.environment, "AWS_ENDPOINT_URL": faulty.url}
        subprocess.run([sys.executable, str(script), url, str(tiny_model), "1"], env=environment, check=True)
    assert s3_server.objects(bucket) == expected
    assert sum(faulty.failed.values()) > 5
