import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.helpers.paths import DATA
from wdstream.errors import ConfigError, ShardError, ShardIndexError
from wdstream.make_shards import MakeShardsOptions, add_token_column, index_folder, make_shards
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.shards.reader import Shards
from wdstream.text.encoder import TextEncoder


def foreign_tar(path: Path, *samples: tuple[str, bytes]) -> None:
    """A tar as anyone may write it."""
    with tarfile.open(path, "w") as tar:
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_index_and_tokens_over_the_tars_of_others(tmp_path: Path, tiny_model: Path) -> None:
    image = (DATA / "bad/pillow-hopper_orientation_6.jpg").read_bytes()
    foreign_tar(tmp_path / "a.tar", ("p1.jpg", image), ("p1.txt", b"one two three"), ("p2.txt", b"<|im_end|>"))
    foreign_tar(
        tmp_path / "b.tar", ("row.json", b'{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}')
    )
    ticks: list[tuple[int, int]] = []
    report = index_folder(tmp_path, tiny_model, workers=1, on_progress=lambda done, total: ticks.append((done, total)))
    encoder = TextEncoder.open(tiny_model)
    shards = Shards.open(tmp_path)
    expected = [encoder.count(["one two three"])[0], encoder.count(["<|im_end|>"])[0], 2]
    assert shards.tokens(encoder.fingerprint).tolist() == expected
    assert (shards.image_width.tolist(), shards.image_height.tolist()) == ([128], [128])
    assert ticks[-1][0] == ticks[-1][1] > 0
    assert report.tokens is not None
    assert (report.tokens.num_samples, report.tokens.num_tokens) == (3, sum(expected))
    console = Console(file=io.StringIO(), width=200)
    report.print(console)
    assert "3 samples" in console.file.getvalue()  # type: ignore[attr-defined]
    assert encoder.fingerprint in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_second_tokenizer_later_and_the_same_counts_as_at_once(
    small_raw: Path, tmp_path: Path, tiny_model: Path
) -> None:
    make_shards(small_raw, tmp_path / "later", options=MakeShardsOptions(workers=1))
    rows: list[int] = []
    report = add_token_column(
        tmp_path / "later", tiny_model, paragraphs=True, on_progress=lambda done, total: rows.append(done)
    )
    assert rows[-1] == report.num_samples == 13
    options = MakeShardsOptions(workers=1, tokenizer=tiny_model, paragraphs=True)
    make_shards(small_raw, tmp_path / "at_once", options=options)
    names = [f"index/{column}.{report.fingerprint}.npy" for column in ("tokens", "paragraphs", "paragraph_start")]
    for name in names:
        assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    for record in (tmp_path / "at_once" / STATE_FOLDER).glob("shard-*.json"):  # as an earlier version wrote them
        tree = json.loads(record.read_bytes())
        del tree["paragraphs"]
        record.write_text(json.dumps(tree))
    (tmp_path / "at_once" / names[2]).unlink()
    make_shards(small_raw, tmp_path / "at_once", options=options)
    # the shards were made without a tokenizer; asking for one now counts the tokens of what is there
    for name in names:
        (tmp_path / "later" / name).unlink()
    again = make_shards(small_raw, tmp_path / "later", options=options)
    assert again.fingerprint == report.fingerprint
    for name in names:
        assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()


def test_paragraphs_of_the_pages_that_may_be_split(tmp_path: Path, tiny_model: Path) -> None:
    encoder = TextEncoder.open(tiny_model)
    texts = ["one line", "One two three.\n\nFour five\nsix.\n", "first line\nsecond line\nthird"]
    row = b'{"content":[{"type":"text","text":"a\\nb"},{"type":"text","text":"c"}]}'
    samples = [(f"p{number}.txt", text.encode()) for number, text in enumerate(texts)]
    foreign_tar(tmp_path / "a.tar", *samples, ("row.json", row))
    index_folder(tmp_path, tiny_model, paragraphs=True, workers=1)
    starts, tokens = Shards.open(tmp_path).paragraphs(encoder.fingerprint)
    assert starts.tolist() == [0, 0, 2, 5, 5]
    pieces = ["One two three.\n\n", "Four five\nsix.\n", "first line\n", "second line\n", "third"]
    assert tokens.tolist() == encoder.count(pieces)


def test_paragraphs_are_counted_when_asked_for(small_raw: Path, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    without = MakeShardsOptions(workers=1, tokenizer=tiny_model)
    fingerprint = make_shards(small_raw, out, options=without).fingerprint
    assert fingerprint is not None
    tokens, *paragraphs = (
        out / "index" / f"{column}.{fingerprint}.npy" for column in ("tokens", "paragraphs", "paragraph_start")
    )
    counted = tokens.read_bytes()
    assert not any(path.exists() for path in paragraphs)
    make_shards(small_raw, out, options=without.replace(paragraphs=True))  # asked for later: read again
    found = [path.read_bytes() for path in paragraphs]
    assert tokens.read_bytes() == counted
    add_token_column(out, tiny_model, workers=1)  # those that are there stay
    assert [path.read_bytes() for path in paragraphs] == found
    for path in paragraphs:
        path.unlink()
    index_folder(out, tiny_model, paragraphs=True, workers=1)
    assert [path.read_bytes() for path in paragraphs] == found
    for wrong in (lambda: index_folder(out, paragraphs=True), lambda: MakeShardsOptions(paragraphs=True)):
        with pytest.raises(ConfigError, match=r"paragraphs.* counted with a tokenizer; give --tokenizer, too"):
            wrong()


def test_paragraphs_counted_with_the_shards_come_back_with_a_new_index(
    small_raw: Path, tmp_path: Path, tiny_model: Path
) -> None:
    options = MakeShardsOptions(workers=1, tokenizer=tiny_model, paragraphs=True)
    make_shards(small_raw, tmp_path, options=options)
    found = {path.name: path.read_bytes() for path in (tmp_path / "index").glob("paragraph*")}
    assert len(found) == 2
    make_shards(small_raw, tmp_path, options=options.replace(paragraphs=False))
    assert {path.name: path.read_bytes() for path in (tmp_path / "index").glob("paragraph*")} == found


def test_no_index_and_a_changed_shard(tmp_path: Path, tiny_model: Path) -> None:
    foreign_tar(tmp_path / "a.tar", ("p.txt", b"text"))
    with pytest.raises(ShardIndexError, match="wdstream index"):
        add_token_column(tmp_path, tiny_model)
    index_folder(tmp_path, workers=1)
    foreign_tar(tmp_path / "a.tar", ("p.txt", b"TEXT"))
    with pytest.raises(ShardError, match=r"a\.tar"):
        add_token_column(tmp_path, tiny_model)


def test_counts_of_an_index_of_before_are_those_that_make_shards_recorded(
    small_raw: Path, tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "shards"
    make_shards(small_raw, folder, options=MakeShardsOptions(workers=1, tokenizer=tiny_model))
    listing = folder / "index" / "index.json"
    wanted = listing.read_bytes()
    value = json.loads(wanted) | {"schema_version": 1}
    del value["columns"], value["metadata"], value["digest"]
    listing.write_bytes(json.dumps(value).encode())
    (tokens,) = (folder / "index").glob("tokens.*.npy")
    counts = np.load(tokens)
    np.save(tokens, counts + 1)  # as damage that no limit tells from a count
    fingerprint = tokens.name.split(".")[1]
    report = index_folder(folder, workers=1)
    assert f"token column {fingerprint}: the counts that make-shards recorded" in report.notes
    assert listing.read_bytes() == wanted
    assert Shards.open(folder).tokens(fingerprint).tolist() == counts.tolist()


def test_a_damaged_shard_is_known_by_the_record_of_its_job(small_raw: Path, tmp_path: Path) -> None:
    """Without an index, and without what is next to the tar."""
    out = tmp_path / "shards"
    make_shards(small_raw, out, options=MakeShardsOptions(workers=1))
    shutil.rmtree(out / "index")
    (out / "shard-000000.meta.npz").unlink()
    tar = out / "shard-000000.tar"
    right = tar.read_bytes()
    place = right.index(b".txt") + 600  # in the text of a page
    tar.write_bytes(right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :])
    with pytest.raises(ShardError, match=r"shard-000000\.tar: its content has the digest"):
        index_folder(out, workers=1, rebuild=True)
    tar.write_bytes(right)
    assert index_folder(out, workers=1).index.catalog.num_samples == 13
