"""From raw pages with a held-out share to the plans of training and evaluation, which share no page.

Spans: make_shards, shards, config, pipeline, report.
"""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webdataset
from PIL import Image

from wdstream.config.build import lanes_from_config, plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, MakeShardsReport, make_shards
from wdstream.pipeline.planned import Plan
from wdstream.report.explain import show_pack
from wdstream.runs.where import where
from wdstream.shards.reader import Shards

Configure = Callable[..., Config]
WHITE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQAAAADsdIMmAAAADUlEQVR4nGP4z8SADAEPcQEOqa2awAAAAABJRU5ErkJggg=="
"""A PNG of 8 x 8 pixels."""


def write_files(raw: Path, names: str, pages: int = 2) -> None:
    """A TIFF of this many pages for each letter, with its text."""
    raw.mkdir(exist_ok=True)
    for name in names:
        images = [Image.new("RGB", (60 + 4 * page, 80), "white") for page in range(pages)]
        images[0].save(raw / f"{name}.tif", save_all=True, append_images=images[1:])
        (raw / f"{name}.txt").write_text("\f".join(f"{name} {page}" for page in range(pages)))


def make(base: Path, model: Path | None = None, **options: Any) -> MakeShardsReport:
    chosen = MakeShardsOptions(workers=1, pages_per_shard=7, tokenizer=model, **options)
    return make_shards(base / "raw", base / "shards", options=chosen)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """24 pages of 12 files, a quarter held out."""
    base = tmp_path_factory.mktemp("held-out")
    write_files(base / "raw", "abcdefghijkl")
    make(base, tiny_model, holdout="25%").check()
    return base


def held(folder: Path) -> set[str]:
    shards = Shards.open(folder)
    assert shards.held_out is not None
    return {shards.key(row) for row in range(len(shards)) if shards.held_out[row]}


def keys(plan: Plan) -> list[str]:
    return sorted(plan.key(sample) for step in plan.steps() for pack in step.packs for sample in pack.samples)


def both_sides(stream_config: Configure, folder: Path, **data: Any) -> Config:
    entry = {"name": "held_out", "path": str(folder), "split": "held_out"}
    return stream_config(folder, tail="pad", **{"eval": [entry], **data})


def test_training_never_sees_what_is_evaluated(base: Path, stream_config: Configure) -> None:
    config = both_sides(stream_config, base / "shards")
    trained, evaluated = keys(plan_from_config(config)), keys(plan_from_config(config, split="held_out"))
    assert set(evaluated) == held(base / "shards")
    assert 0 < len(evaluated) < 24 and len(evaluated) % 2 == 0
    assert sorted(trained + evaluated) == sorted(f"{name}@000{page}" for name in "abcdefghijkl" for page in (1, 2))
    assert not {key[0] for key in trained} & {key[0] for key in evaluated}
    everything = both_sides(stream_config, base / "shards", train=[{"path": str(base / "shards"), "split": "all"}])
    assert keys(plan_from_config(everything)) == sorted(trained + evaluated)


def test_reports_say_how_many_are_held_out(base: Path, stream_config: Configure) -> None:
    config = both_sides(stream_config, base / "shards")
    count = len(held(base / "shards"))
    summary = plan_from_config(config).summary()
    assert (summary.held_out, summary.pages, dict(summary.rejects)) == (count, 24 - count, {"held out": count})
    view = show_pack(config, Path("cfg.yaml"))
    assert view.notes == (f"{count} of 24 samples of shards are held out, and left out",)
    assert where(config, min(held(base / "shards"))).reason == "held out"


def test_a_second_run_changes_nothing_and_another_share_is_refused(base: Path) -> None:
    before = (base / "shards" / "index" / "index.json").read_bytes()
    assert any(line.startswith("held out (25% by file): ") for line in make(base, holdout="25%").remarks)
    make(base)
    assert (base / "shards" / "index" / "index.json").read_bytes() == before
    with pytest.raises(ConfigError, match="holds out 25% by file, and --holdout asks for other pages: leave it out"):
        make(base, holdout="30%")
    with pytest.raises(ConfigError, match="give --holdout, too"):
        MakeShardsOptions(holdout_by="page")


def test_added_files_move_no_page_whatever_way_they_come(tmp_path: Path) -> None:
    write_files(tmp_path / "raw", "abcdefgh")
    make(tmp_path, holdout="5")
    first = held(tmp_path / "shards")
    assert len(first) == 6
    write_files(tmp_path / "raw", "ijklmnopqrst")
    make(tmp_path, retry_quarantined=True)
    second = held(tmp_path / "shards")
    assert {key for key in second if key[0] in "abcdefgh"} == first < second
    make(tmp_path, overwrite=True)
    assert held(tmp_path / "shards") == second
    make(tmp_path, overwrite=True, holdout="2")  # who starts again may ask for others
    assert len(held(tmp_path / "shards")) == 2


def test_samples_of_a_raw_tar_are_documents_though_their_names_are_numbers(tmp_path: Path) -> None:
    write_files(tmp_path / "raw", "ab")
    with webdataset.TarWriter(str(tmp_path / "raw" / "own.tar")) as writer:
        for number in range(16):
            writer.write({"__key__": f"{number:04d}", "png": b64decode(WHITE), "txt": f"text {number}"})
    make(tmp_path, holdout="4")
    assert len(held(tmp_path / "shards")) in (4, 5)  # by a whole TIFF of two pages


def test_shards_are_made_also_where_nothing_can_be_held_out(tmp_path: Path) -> None:
    write_files(tmp_path / "raw", "ab")
    report = make(tmp_path, holdout="0.001%")
    with pytest.raises(
        ConfigError,
        match=r"no page would be held out, of 4 pages in 2 documents.* give another seed; .*`wdstream split ",
    ):
        report.check()
    assert len(Shards.open(tmp_path / "shards")) == 4
    assert Shards.open(tmp_path / "shards").held_out is None
    with pytest.raises(ConfigError, match="neither a share"):
        make(tmp_path, holdout="some")


def test_evaluation_says_which_side_it_reads(base: Path, stream_config: Configure) -> None:
    config = stream_config(base / "shards", eval=[{"name": "test", "path": str(base / "shards")}])
    with pytest.raises(ConfigError, match=r"data\.eval: test: .* holds pages out, and this set does not say which"):
        plan_from_config(config, split="test")


def test_where_nothing_is_held_out_the_command_is_named(small_shards: Path, stream_config: Configure) -> None:
    config = both_sides(stream_config, small_shards)
    with pytest.raises(ConfigError, match=rf"no page of {small_shards} is held out; `wdstream split {small_shards}"):
        plan_from_config(config, split="held_out")


def test_streams_have_no_split(base: Path, stream_config: Configure) -> None:
    shards = base / "shards"
    for split in ("train", "held_out", "all"):
        with pytest.raises(ValueError, match="no tail, weight, epochs, where, split or datasets"):
            both_sides(stream_config, shards, train=[{"path": str(shards), "split": split}], streaming={})
    config = stream_config(shards, streaming={"lanes": 1})
    with pytest.raises(ConfigError, match="holds pages out, and a stream reads every page, those too"):
        lanes_from_config(config)


def test_a_mix_gives_the_side_to_the_datasets_inside(base: Path, stream_config: Configure) -> None:
    inside = [{"path": str(base / "shards"), "name": name, "weight": weight} for name, weight in (("a", 1), ("b", 2))]
    with pytest.raises(ValueError, match="split chooses among the pages of one folder"):
        stream_config(base / "shards", train=[{"datasets": inside, "weight": 1, "split": "train"}])
    config = stream_config(base / "shards", train=[{"datasets": inside, "weight": 1}], epochs=None)
    plan = plan_from_config(config)
    assert {plan.key(sample) for pack in plan.step(0).packs for sample in pack.samples}.isdisjoint(
        held(base / "shards")
    )
