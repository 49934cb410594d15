"""One flipped bit in a column of the index, or in one tar of a hundred: a run is refused by name, or trains the same
plan without the page.

Spans: train, shards, runs.
"""

import random
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from tests.helpers.verify_shards import flip
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_pages

NUM_TARS = 100
PLACES = ("header", "image", "text", "end")


class Sound:
    """A hundred tars of one page each, and a run over all of them."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.folder = workplace.root / "hundred"
        raw = make_pages(workplace.root / "raw-hundred", num_pages=NUM_TARS, seed=3)
        options = MakeShardsOptions(tokenizer=workplace.root / "model", workers=1, pages_per_shard=1)
        make_shards(raw, self.folder, options=options)
        self.run = workplace.root / "run-hundred"
        assert self.train(self.folder, self.run) == 0
        self.plan = plan_of(self.run)
        assert sum(pages for _, _, pages in self.plan) >= NUM_TARS  # all are in it: a flipped one is met

    def train(self, shards: Path, output: Path) -> int:
        settings = ("train.max_steps=null", "data.epochs=1", "data.eval=[]", "data.max_bad_fraction=0.01")
        small = ("data.global_batch_size=4", "train.adapter={kind: lora, r: 2}", "data.sequence_length=2048")
        sources = f"data.train=[{{path: {shards}, name: hundred}}]"
        return self.workplace.train(output, sources, *settings, *small, "train.checkpoint_every=1000")


def plan_of(run: Path) -> list[tuple[int, str, int]]:
    return [(line["step"], line["digest"], line["pages"]) for line in read_lines(run / "steps.jsonl")]


@pytest.fixture(scope="module")
def sound(workplace: Workplace) -> Sound:
    return Sound(workplace)


@pytest.mark.slow
def test_in_each_column(sound: Sound, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every bit of a column may be the one; a column that no step of training opens changes nothing of the run."""
    columns = sorted(path.name for path in (sound.folder / "index").glob("*.npy"))
    assert len(columns) >= 14
    drawn, unread = random.Random(14), []
    for number, column in enumerate(columns):
        shards = Path(shutil.copytree(sound.folder, tmp_path / f"shards-{number}"))
        file = shards / "index" / column
        flip(file, drawn.randrange(file.stat().st_size), drawn.randrange(8))
        capsys.readouterr()
        status = sound.train(shards, tmp_path / f"run-{number}")
        said = capsys.readouterr().err
        if status == 0:
            assert plan_of(tmp_path / f"run-{number}") == sound.plan
            unread.append(column)
        else:
            assert status == 1 and column in said, f"{column}: {said}"
            assert not (tmp_path / f"run-{number}" / "steps.jsonl").exists()
        shutil.rmtree(shards)
    assert {name.partition(".")[0] for name in unread} <= {"metadata", "key_hash"}, unread


def place_in(tar: Path, where: str) -> int:
    """A byte of a tar that matters there."""
    with tarfile.open(tar) as file:
        image, text = file.getmembers()[:2]
    ends = {"image": image.offset_data + image.size // 2, "text": text.offset_data, "header": image.offset}
    return ends.get(where, tar.stat().st_size - 1)


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
def test_in_one_tar_of_a_hundred(where: str, sound: Sound, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is quarantined, and nothing else of the plan changes; after the last page a bit says nothing."""
    shards, run = Path(shutil.copytree(sound.folder, tmp_path / "shards")), tmp_path / "run"
    tar = sorted(shards.glob("*.tar"))[random.Random(where).randrange(NUM_TARS)]
    flip(tar, place_in(tar, where), 4)
    status = sound.train(shards, run)
    assert status == 0, capsys.readouterr().err
    assert plan_of(run) == sound.plan
    bad = list(read_lines(run / "quarantine.jsonl")) if (run / "quarantine.jsonl").exists() else []
    with tarfile.open(sound.folder / tar.name) as file:
        key = file.getmembers()[0].name.partition(".")[0]
    assert [line["key"] for line in bad] == ([] if where == "end" else [key])
    failed = sum(line["failed"] for line in read_lines(run / "steps.jsonl"))
    assert failed == len(bad)
