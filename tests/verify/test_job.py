"""verify names every kind of damage, finds duplicates and odd text, and has nothing to say of sound shards."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.verify_shards import cut, flip, run, verify, write_raw
from tests.helpers.web_server import serving
from wdstream.errors import ShardError, ShardIndexError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_token_column
from wdstream.text.encoder import TextEncoder
from wdstream.verify.findings import VerifyReport


def found(report: VerifyReport) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.file, finding.key) for finding in report.findings]


def test_sound_shards_have_no_findings(sound: Path, tiny_model: Path) -> None:
    report = verify(sound, deep=True, tokenizer=tiny_model)
    assert report.findings == []
    assert (report.num_shards, report.num_samples, report.num_images, report.num_without_image) == (3, 6, 6, 0)
    assert report.scripts == {"Latn": 6}


def test_several_processes_find_the_same(shards: Path) -> None:
    flip(shards / "shard-000001.tar", 2000)
    one, two = verify(shards), verify(shards, workers=2)
    assert one.as_dict() == two.as_dict()
    assert one.num_damaged > 0


def test_a_flipped_bit_anywhere_is_named(shards: Path) -> None:
    """Of every file but the job's own notes: at its start, its end, and five places between."""
    suffixes = (".tar", ".idx", ".npz", ".npy", "index.json")
    files = [file for file in sorted(shards.rglob("*")) if file.is_file() and file.name.endswith(suffixes)]
    assert len(files) > 20
    unseen = []
    for number, file in enumerate(files):
        size = file.stat().st_size
        for place in sorted({0, size - 1, *np.random.default_rng(number).integers(0, size, 5).tolist()}):
            flip(file, place, place % 8)
            report = verify(shards)
            flip(file, place, place % 8)
            if file.name not in {Path(finding.file).name for finding in report.findings} or not report.num_damaged:
                unseen.append((file.name, place))
    assert unseen == []
    assert verify(shards).findings == []  # every flip was taken back


def test_every_damaged_column_is_named_at_once(shards: Path) -> None:
    columns = sorted((shards / "index").glob("*.npy"))
    for column in columns:
        flip(column, column.stat().st_size - 1, 7)
    report = verify(shards)
    assert {finding.file for finding in report.of_kind("column")} >= {f"index/{column.name}" for column in columns}
    # the samples are checked all the same, by what is next to their tars
    assert report.num_samples == 6
    assert report.counts["checksum"] == report.counts["sample"] == 0


@pytest.mark.parametrize(
    ("damage", "kind", "file", "words"),
    [
        (lambda folder: (folder / "shard-000001.tar").unlink(), "tar", "shard-000001.tar", "though the index lists it"),
        (lambda folder: cut(folder / "shard-000001.tar"), "tar", "shard-000001.tar", "cut off or changed"),
        (lambda folder: (folder / "shard-000001.tar.idx").unlink(), "meta", "shard-000001.tar.idx", "is not there"),
        (lambda folder: (folder / "shard-000001.meta.npz").unlink(), "meta", "shard-000001.meta.npz", "is not there"),
        (lambda folder: (folder / "index" / "crc.npy").unlink(), "column", "index/crc.npy", "is not there"),
        (lambda folder: (folder / "index" / "index.json").unlink(), "index", "index/index.json", "has no index/index"),
        (
            lambda folder: shutil.copy(folder / "shard-000001.tar", folder / "shard-000009.tar"),
            "not indexed",
            "shard-000009.tar",
            "a tar that the index does not list",
        ),
        (
            lambda folder: (folder / "shard-000009.tar.tmp").write_bytes(b"x"),
            "left over",
            "shard-000009.tar.tmp",
            "was not finished",
        ),
    ],
)
def test_files_that_are_not_as_they_were(
    shards: Path, damage: Callable[[Path], object], kind: str, file: str, words: str
) -> None:
    damage(shards)
    findings = [finding for finding in verify(shards).of_kind(kind) if finding.file == file]
    assert findings
    assert words in findings[0].what


def test_copies_of_what_the_index_says_are_compared(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", 4)
    make_shards(tmp_path / "raw", tmp_path / "shards", options=MakeShardsOptions(workers=1, holdout="1"))
    assert not verify(tmp_path / "shards").num_damaged
    rule = tmp_path / "shards" / "index" / "split.json"
    rule.write_text(rule.read_text(encoding="utf-8").replace('"asked": "1"', '"asked": "2"'), encoding="utf-8")
    report = verify(tmp_path / "shards")
    (finding,) = report.of_kind("index")
    assert (report.num_damaged, finding.file) == (1, "index/split.json")
    assert finding.what == "says something else than index.json, of which it is a copy"


def test_swapped_tars_are_named_though_both_are_sound(shards: Path) -> None:
    for suffix in (".tar", ".tar.idx", ".meta.npz"):
        first, second = (shards / f"shard-00000{number}{suffix}" for number in (0, 1))
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    report = verify(shards)
    assert {finding.file for finding in report.of_kind("meta")} >= {"shard-000000.meta.npz", "shard-000001.meta.npz"}
    assert {finding.file for finding in report.findings} >= {"shard-000000.tar", "shard-000001.tar"}


def test_a_damaged_tar_that_was_indexed_again_shows_in_its_images(shards: Path, tiny_model: Path) -> None:
    """What was taken as changed on purpose, decoding still finds."""
    tar = shards / "shard-000000.tar"
    flip(tar, tar.read_bytes().index(b"IDAT") + 200)
    for file in (*shards.glob("*.idx"), *shards.glob("*.npz")):
        file.unlink()
    with pytest.raises(ShardError, match="p00: checksum"):
        index_folder(shards, tiny_model, workers=1)
    index_folder(shards, tiny_model, workers=1, accept_changed=True)
    assert verify(shards).num_damaged == 0
    assert found(verify(shards, deep=True)) == [("image", "shard-000000.tar", "p00")]


def test_token_counts_are_compared_with_the_tokenizer(shards: Path, tiny_model: Path) -> None:
    fingerprint = TextEncoder.open(tiny_model).fingerprint
    counts = Shards.open(shards).tokens(fingerprint).copy()
    counts[3] += 1
    write_token_column(shards, fingerprint, counts)
    assert verify(shards).num_damaged == 0
    report = verify(shards, tokenizer=tiny_model)
    assert found(report) == [("tokens", "shard-000001.tar", "p03")]
    assert report.findings[0].what == f"{counts[3]} tokens in the index, its text has {counts[3] - 1}"


def test_tokens_that_nobody_counted_cannot_be_compared(shards: Path, tiny_model: Path) -> None:
    shutil.rmtree(shards / "index")
    shutil.rmtree(shards / ".make-shards")  # whose records have the counts, too
    index_folder(shards, None, workers=1)
    report = verify(shards, tokenizer=tiny_model)
    assert [finding.what.partition(" of the tokens")[0] for finding in report.findings] == ["no whole column"]


def test_copies_are_found(copies: Path) -> None:
    report = verify(copies, deep=True)
    assert [(finding.kind, finding.key) for finding in report.findings] == [
        ("near duplicate", "x-near"),
        ("duplicate page", "x-same"),
        ("same picture, other text", "x-text"),
    ]
    assert report.of_kind("duplicate page")[0].what == "images and text are those of p03 in shard-000000.tar"
    assert "from that of p05 in shard-000001.tar" in report.of_kind("near duplicate")[0].what
    assert report.num_damaged == 0


def test_without_deep_only_exact_copies(copies: Path) -> None:
    assert sorted(verify(copies).counts) == ["duplicate page", "same picture, other text"]


def test_odd_text_is_named(tmp_path: Path) -> None:
    """Rows are taken word for word, so what is odd in them comes into shards."""
    rows = [
        {"text": "clean\ttext\nof two lines"},
        {"text": "one \x1b[31m control"},
        {"text": "broken \ufffd\ufffd letters"},
        {"text": "private \ue001 and unassigned \u0378"},
        {"text": "Это русский текст, который назван немецким", "language": "de"},
        {"text": "Ово је српски текст, писан ћирилицом", "language": "sr"},
        {"text": "Ovo je srpski tekst, pisan latinicom", "language": "sr-Latn"},
        {"text": "これは日本語の文章です。漢字とかなが混ざっています。", "language": "ja"},
        {"text": "no language of this name exists anywhere", "language": "klingonese"},
    ]
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_shards(raw, tmp_path / "shards", options=MakeShardsOptions(workers=1))
    report = verify(tmp_path / "shards")
    assert [(finding.kind, finding.key[-2:], finding.what) for finding in report.findings] == [
        ("control characters", "02", "1 of 17 characters"),
        ("replacement characters", "03", "2 of 17 characters are U+FFFD"),
        ("no meaning in Unicode", "04", "2 of 26 characters"),
        ("script", "05", "language 'de' is written in Latn; of 36 letters 0 are, and 36 are Cyrl"),
    ]
    assert (report.num_without_image, report.num_damaged) == (9, 0)


def test_a_folder_without_index_is_checked_as_far_as_it_goes(shards: Path) -> None:
    for file in (*shards.glob("*.idx"), *shards.glob("*.npz")):
        file.unlink()
    shutil.rmtree(shards / "index")
    report = verify(shards, deep=True)
    assert (report.num_samples, report.counts["index"], report.counts["meta"]) == (6, 1, 6)


def test_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(ShardIndexError, match="no such folder of shards"):
        verify(tmp_path / "nothing")
    with pytest.raises(ShardIndexError, match="no index and no tar that can be read"):
        verify(tmp_path)


def test_shards_at_a_url(shards: Path) -> None:
    with serving(shards) as server:
        report = verify(server.url)
        assert (report.num_samples, report.findings) == (6, [])
        flip(shards / "shard-000002.tar", 1500)
        assert "checksum" in verify(server.url).counts


def test_hostile_headers_raise_nothing(shards: Path) -> None:
    """Garbage in place of a header, and an empty tar."""
    tar = shards / "shard-000000.tar"
    sound = tar.read_bytes()
    for junk in (b"\xff" * 512, bytes(512), b"\x1b[2J" * 128, struct.pack("<512B", *[n % 256 for n in range(512)])):
        tar.write_bytes(junk[:512] + sound[512:])
        assert verify(shards).num_damaged > 0
    tar.write_bytes(b"")
    assert verify(shards).num_damaged > 0


def test_the_command(shards: Path) -> None:
    sound = run(str(shards))
    assert sound.returncode == 0, sound.stderr
    assert "3 shards, 6 samples (0 of them have no image)" in sound.stdout.replace("\n", " ")
    flip(shards / "shard-000001.tar", 2000)
    damaged = run(str(shards), "--workers", "1")
    assert damaged.returncode == 1
    assert "shard-000001.tar: p02: checksum" in damaged.stdout
    assert "index --rebuild" not in damaged.stdout  # which would make an index of the damage
    as_json = json.loads(run(str(shards), "--json").stdout)
    assert as_json["damaged"] == 1
    assert [finding["key"] for finding in as_json["findings"]] == ["p02"]


def test_strict_counts_what_is_to_be_looked_at(copies: Path) -> None:
    assert run(str(copies)).returncode == 0
    assert run(str(copies), "--strict").returncode == 1


@pytest.mark.parametrize("limit", [12, 24])
def test_too_few_files_that_may_be_open_are_one_line_and_no_damage(sound: Path, limit: int) -> None:
    command = f"ulimit -n {limit}; exec {sys.executable} -m wdstream verify {sound} --workers 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("wdstream: ")
    assert "Too many open files" in line and "raise the limit (ulimit -n 4096)" in line
    assert "damaged" not in done.stdout
