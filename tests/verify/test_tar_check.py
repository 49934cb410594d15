"""Files that cannot be read, processes that are stopped, samples that are left out: none is taken for damage."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.helpers.verify_shards import draw_page, flip, run, verify
from tests.helpers.waiting import HANGS_AFTER_S, wait_until
from tests.helpers.web_server import serving
from wdstream.errors import ConfigError, ShardIndexError
from wdstream.make_shards import index_folder
from wdstream.verify.options import VerifyOptions
from wdstream.verify.tar_check import TarTask, check_tar


def test_no_process_outlives_one_that_was_killed(tmp_path: Path, copies: Path) -> None:
    """Stopped in the middle by SIGKILL, its pool has nobody to tell it that there is no more work."""
    for number in range(40):
        shutil.copy(copies / "shard-000000.tar", tmp_path / f"{number:02d}.tar")
    command = [sys.executable, "-m", "wdstream", "verify", str(tmp_path), "--deep", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        me = psutil.Process(job.pid)
        wait_until(
            lambda: len(pool := me.children()) >= 2 and all(child.num_threads() > 1 for child in pool[-2:]),
            "a pool at work",
        )
        pool = me.children(recursive=True)
        job.kill()
    gone, alive = psutil.wait_procs(pool, timeout=HANGS_AFTER_S)
    assert len(gone) >= 2
    assert alive == []


def test_what_cannot_be_read_is_found_and_the_rest_is_checked(shards: Path) -> None:
    """Of a store: a tar that may not be read, a column that the network fails to bring, damage elsewhere."""
    tar = shards / "shard-000000.tar"
    flip(tar, tar.read_bytes().index(b"IDAT") + 200)
    answers = {"/shard-000001.tar": 403, "/index/metadata.source.npy": 403}
    with serving(shards) as server:
        server.answers = answers
        report = verify(server.url)
    assert {(finding.kind, finding.file) for finding in report.findings} == {
        ("checksum", "shard-000000.tar"),
        ("not readable", "index/metadata.source.npy"),
        ("not readable", "shard-000001.tar"),
    }
    assert (report.num_damaged, report.num_unread, report.num_doubtful) == (1, 2, 0)
    assert report.num_samples == 3  # one of two in the first, none of the second, two of the third


def test_a_command_that_could_not_read_all_ends_with_1_and_calls_nothing_damaged(shards: Path) -> None:
    with serving(shards) as server:
        server.answers = {"/shard-000001.tar": 403}
        done = run(server.url, "--workers", "1")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith(" GB read: 0 damaged, 1 not readable, 0 to look at")


def test_an_index_json_that_was_damaged_on_its_way_is_asked_for_again(shards: Path) -> None:
    with serving(shards) as server:
        server.damaged_answers = 1
        assert verify(server.url).findings == []
        server.answers = {"/index/index.json": 404}
        with pytest.raises(ShardIndexError, match=r"has no index/index\.json: run `wdstream index http"):
            verify(server.url)


def test_files_of_another_user_are_not_taken_for_damage(shards: Path) -> None:
    """Run by a user who may read some of them."""
    for file in (*shards.rglob("*"), shards):
        file.chmod(0o755 if file.is_dir() else 0o644)
    names = ["shard-000000.tar", "shard-000001.meta.npz", "shard-000002.tar.idx", "index/crc.npy"]
    for name in names:
        (shards / name).chmod(0)
    report = verify_as_nobody(shards)
    assert (report["exit"], report["damaged"], report["not_read"]) == (1, 0, 4)
    assert sorted({(finding["kind"], finding["file"]) for finding in report["findings"]}) == sorted(
        ("not readable", name) for name in names
    )


def verify_as_nobody(shards: Path) -> dict[str, Any]:
    """What a process without rights finds. It enters the folder, and imports all that it needs, while it has them."""
    code = (
        "import json, os, sys\n"
        "from wdstream.verify.job import verify_shards\n"
        "from wdstream.verify.options import VerifyOptions\n"
        "os.chdir(sys.argv[1])\n"
        "verify_shards('.', options=VerifyOptions(workers=1))\n"
        "if os.getuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "report = verify_shards('.', options=VerifyOptions(workers=1))\n"
        "print(json.dumps(report.as_dict() | {'exit': int(report.num_unread > 0)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shards)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_samples_that_the_index_leaves_out_are_counted_and_no_damage(tmp_path: Path) -> None:
    image = io.BytesIO()
    draw_page(0).save(image, "PNG")
    items = [("1.png", image.getvalue()), ("1.txt", b"a"), ("2.png", b""), ("2.txt", b"b"), ("3.png", b"x")]
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in items:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    index_folder(tmp_path, workers=1)
    report = verify(tmp_path, deep=True)
    assert (report.findings, report.num_samples, report.num_left_out) == ([], 1, 2)
    with serving(tmp_path) as server:  # where no meta says why
        report = verify(server.url, deep=True)
    assert (report.findings, report.num_samples, report.num_left_out) == ([], 1, 2)


def test_an_image_above_the_limit_is_not_damaged(shards: Path) -> None:
    report = verify(shards, deep=True, max_pixels=420 * 560 - 1)
    assert (report.counts, report.num_damaged) == ({"not decoded": 6}, 0)
    assert "420x560 pixels is above the limit of 235199 pixels" in report.findings[0].what
    assert verify(shards, deep=True, max_pixels=420 * 560).findings == []


@pytest.mark.parametrize("place", ["/nothing/here", "http://127.0.0.1:1/shards"])
def test_json_whatever_happens(place: str) -> None:
    done = run(place, "--json")
    assert done.returncode == 1
    tree = json.loads(done.stdout)
    assert tree["path"] == place
    assert "no such folder" in tree["error"] or "cannot be read" in tree["error"]
    assert "Traceback" not in done.stderr


def test_another_tokenizer_on_a_machine_is_no_finding(sound: Path, tiny_model: Path) -> None:
    """Where a task is done on another machine, that one may have another file at the path of the tokenizer."""
    task = TarTask(
        path=str(sound),
        tars=str(sound),
        name="shard-000000.tar",
        entry=None,
        rows=None,
        tokens=np.zeros(2, np.int32),
        options=VerifyOptions(tokenizer=tiny_model),
        fingerprint="ab" * 8,
    )
    with pytest.raises(ConfigError, match=f"{tiny_model} is the tokenizer .* on the machine that started the job"):
        check_tar(task)
