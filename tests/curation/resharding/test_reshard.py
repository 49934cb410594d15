"""Resharding: every page once, member by member as it was, whatever the order, the cut and the number of processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.mixed_shards import pages_of, tree_of, write_mixed
from wdstream.curation.resharding.reshard import ReshardReport, reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column

TOKENIZER, OTHER = "aaaaaaaa", "bbbbbbbb"


def run(inputs: list[Path], out: Path, **options: object) -> ReshardReport:
    return reshard(inputs, out, options=ReshardOptions.of({"workers": 1, **options}))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders with tokens; one of them with supervised tokens and those of paragraphs."""
    folder = tmp_path_factory.mktemp("two")
    paths = [write_mixed(folder / "one", "a", 24), write_mixed(folder / "two", "b", 17)]
    for path in paths:
        shards = Shards.open(path)
        write_token_column(path, TOKENIZER, 2 * shards.text_chars)
    write_token_column(paths[0], OTHER, Shards.open(paths[0]).text_chars)
    write_token_column(paths[1], TOKENIZER, *(n * Shards.open(paths[1]).text_chars for n in (2, 1)))
    return paths


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    shards = Shards.open(folder)
    return dict(map(shards.read, range(len(shards))))


def keys(folder: Path) -> list[str]:
    shards = Shards.open(folder)
    return [shards.key(row) for row in range(len(shards))]


def test_every_member_of_every_page_is_there_once(two: list[Path], tmp_path: Path) -> None:
    report = run(two, tmp_path / "out", pages=7)
    assert (report.num_pages, report.num_shards) == (41, 6)
    assert members(tmp_path / "out") == members(two[0]) | members(two[1])
    assert keys(tmp_path / "out") == keys(two[0]) + keys(two[1])
    new, old = Shards.open(tmp_path / "out"), [Shards.open(path) for path in two]
    assert sorted(new.metadata) == ["language", "score"]
    for name in ("crc", "nbytes", "num_images", "text_bytes", "text_chars", "starts_with_text", "image_width"):
        assert np.array_equal(getattr(new, name), np.concatenate([getattr(shards, name) for shards in old]))


def test_token_columns_come_along_where_all_folders_have_them(two: list[Path], tmp_path: Path) -> None:
    report = run(two, tmp_path / "out", shuffle=True)
    new = Shards.open(tmp_path / "out")
    assert new.catalog.token_fingerprints() == [TOKENIZER]
    assert np.array_equal(new.tokens(TOKENIZER), 2 * new.text_chars)
    supervised = new.supervised(TOKENIZER)
    assert supervised is not None
    is_first = np.array([key.startswith("a/") for key in keys(tmp_path / "out")])
    assert np.array_equal(supervised, np.where(is_first, 2, 1) * new.text_chars)
    assert [note for note in report.notes if OTHER in note]


def test_tokens_of_paragraphs_come_along(tmp_path: Path) -> None:
    shards = Shards.open(write_mixed(tmp_path / "in", count=9))
    with write_paragraphs(tmp_path / "in", TOKENIZER) as writer:
        writer.add([list(range(row % 4)) for row in range(9)])
    write_token_column(tmp_path / "in", TOKENIZER, shards.text_chars)
    run([tmp_path / "in"], tmp_path / "out", sort="text_chars")
    starts, tokens = Shards.open(tmp_path / "out").paragraphs(TOKENIZER)
    rows = [int(key[-1]) for key in keys(tmp_path / "out")]
    assert [tokens[starts[n] : starts[n + 1]].tolist() for n in range(9)] == [list(range(row % 4)) for row in rows]


def test_any_number_of_processes_writes_the_same_bytes(two: list[Path], tmp_path: Path) -> None:
    for workers in (1, 2):
        run(two, tmp_path / str(workers), pages=7, shuffle=True, workers=workers)
    assert tree_of(tmp_path / "1", ["workers"]) == tree_of(tmp_path / "2", ["workers"])


def test_a_second_run_writes_nothing(two: list[Path], tmp_path: Path) -> None:
    run(two, tmp_path / "out", pages=7)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    run(two, tmp_path / "out", pages=7)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_shard_that_was_damaged_meanwhile_is_written_again(two: list[Path], tmp_path: Path) -> None:
    run(two, tmp_path / "out", pages=7)
    before = tree_of(tmp_path / "out")
    tar = tmp_path / "out/shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    (tmp_path / "out/shard-000002.meta.npz").unlink()
    (tmp_path / "out/.reshard/shard-000003.tar.json").write_bytes(bytes(50))
    run(two, tmp_path / "out", pages=7)
    assert tree_of(tmp_path / "out") == before


def test_shuffling_depends_on_keys_and_seed_alone(two: list[Path], tmp_path: Path) -> None:
    run(two, tmp_path / "a", shuffle=True)
    run(two[::-1], tmp_path / "b", shuffle=True, pages=3)
    run(two, tmp_path / "c", shuffle=True, seed=1)
    assert keys(tmp_path / "a") == keys(tmp_path / "b") != keys(tmp_path / "c")
    assert sorted(keys(tmp_path / "a")) == sorted(keys(tmp_path / "c"))


@pytest.mark.parametrize(
    "where",
    [
        'language == "de" and text_chars > 20',
        "num_images == 2",
        "width * height > 60 and score < 4",
        "text_tokens > 90",
    ],
)
def test_where_chooses(two: list[Path], tmp_path: Path, where: str) -> None:
    run(two, tmp_path / "out", where=where)
    wanted = []
    for path in two:
        for key, page in pages_of(path).items():
            text_chars = sum(len(getattr(segment, "text", "")) for segment in page.segments)
            shards = Shards.open(path)
            row = shards.find(key)
            assert row is not None
            first = int(shards.image_start[row])
            size = (int(shards.image_width[first]), int(shards.image_height[first])) if page.images else (0, 0)
            names = {
                "language": page.meta.get("language"),
                "score": page.meta.get("score", 99),
                "text_chars": text_chars,
            }
            names |= {"num_images": len(page.images), "width": size[0], "height": size[1]}
            if eval(where, {"text_tokens": 2 * text_chars, **names}):
                wanted.append(key)
    assert 0 < len(wanted) < 41
    assert keys(tmp_path / "out") == wanted


def test_sorting(two: list[Path], tmp_path: Path) -> None:
    for number, by in enumerate(("key", "text_chars", "score", "language")):
        run(two[::-1], tmp_path / str(number), sort=by)
    assert keys(tmp_path / "0") == sorted(keys(two[0]) + keys(two[1]))
    assert (np.diff(Shards.open(tmp_path / "1").text_chars) >= 0).all()
    scores = [page.meta.get("score", 1e9) for page in pages_of(tmp_path / "2").values()]
    assert scores == sorted(scores)
    languages = [page.meta.get("language", "z") for page in pages_of(tmp_path / "3").values()]
    assert languages == sorted(languages)


def test_size_bounds_shards_and_a_large_page_has_its_own(tmp_path: Path) -> None:
    write_mixed(tmp_path / "in", count=12)
    run([tmp_path / "in"], tmp_path / "out", shard_size="14kB")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert len(sizes) > 1 and max(sizes) <= 20480
    run([tmp_path / "in"], tmp_path / "single", shard_size="1")
    assert len(list((tmp_path / "single").glob("*.tar"))) == 12


def test_equal_keys_of_two_folders_are_refused_or_prefixed(tmp_path: Path) -> None:
    inputs = [write_mixed(tmp_path / name / "set", "a", count) for name, count in (("x", 9), ("y", 5))]
    with pytest.raises(ConfigError, match=r"(?s)5 keys are in more than one folder.*'a/p0000' in .*--prefix-keys"):
        run(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = run(inputs, tmp_path / "out", prefix_keys=True)
    assert report.num_pages == 14
    assert keys(tmp_path / "out")[8:10] == ["set/a/p0008", "set-2/a/p0000"]
    with pytest.raises(ConfigError, match="is given twice"):
        run([inputs[0], inputs[0] / "../set"], tmp_path / "other", prefix_keys=True)


def test_pages_of_a_list_are_left_out(two: list[Path], tmp_path: Path) -> None:
    named = tmp_path / "list.jsonl"
    of_other = json.dumps({"key": "a/p0001", "shards": Shards.open(two[1]).fingerprint})
    of_one = json.dumps({"key": "a/p0002", "shards": Shards.open(two[0]).fingerprint, "kept": "a/p0003"})
    named.write_text(f"a/p0000\n\nb/p0016\n{of_other}\n{of_one}\nnot there\n")
    run(two, tmp_path / "out", exclude_list=named)
    gone = {"a/p0000", "b/p0016", "a/p0002"}
    assert keys(tmp_path / "out") == [key for key in keys(two[0]) + keys(two[1]) if key not in gone]
    named.write_text('{"no": "key"}\n')
    with pytest.raises(ConfigError, match="line 1 is not a JSON object with 'key'"):
        run(two, tmp_path / "other", exclude_list=named)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "tokens < 4"}, "'tokens' depends on a model"),
        ({"where": "langage == 'de'"}, "did you mean 'language'"),
        ({"where": "text_chars < 0"}, "no page is left"),
        ({"sort": "colour"}, "no column 'colour'; there are dataset, height, key, language"),
        ({"shuffle": True, "sort": "key"}, "give sort or shuffle, not both"),
        ({"shard_size": "12 potatoes"}, "expected a size such as 512MB"),
        ({"shard_size": "0"}, "expected 1 byte to 1 TiB"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    two: list[Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(two, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_output_is_no_folder_of_anything_else(two: list[Path], tmp_path: Path) -> None:
    for out in (two[0], two[0] / "new", two[0].parent):
        with pytest.raises(ConfigError, match="choose another"):
            run(two, out)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"files or folders that reshard did not write \(notes.txt"):
        run(two, tmp_path / "foreign")
    run(two, tmp_path / "out")
    with pytest.raises(ConfigError, match="pages was None, is 7"):
        run(two, tmp_path / "out", pages=7)
    with pytest.raises(ConfigError, match="input was "):
        run(two[:1], tmp_path / "out")


def test_a_damaged_page_ends_the_job_and_is_named(tmp_path: Path) -> None:
    tar = write_mixed(tmp_path / "in", count=9) / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ShardError, match=r"the page 'a/p0000' cannot be copied: .*checksum .* --exclude-list"):
        run([tmp_path / "in"], tmp_path / "out")
    (tmp_path / "bad").write_text("a/p0000\n")
    assert run([tmp_path / "in"], tmp_path / "other", exclude_list=tmp_path / "bad").num_pages == 8


def test_a_page_whose_header_is_damaged_is_named_by_its_key(tmp_path: Path) -> None:
    tar = write_mixed(tmp_path / "in", count=9) / "shard-000000.tar"
    tar.write_bytes(b"x" + tar.read_bytes()[1:])
    with pytest.raises(ShardError, match=r"the page 'a/p0000' cannot be copied"):
        run([tmp_path / "in"], tmp_path / "out")


def test_a_shard_that_changed_after_it_was_written_is_written_again(two: list[Path], tmp_path: Path) -> None:
    run(two, tmp_path / "out", pages=7)
    before, tar = tree_of(tmp_path / "out"), tmp_path / "out/shard-000003.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    run(two, tmp_path / "out", pages=7)
    assert tree_of(tmp_path / "out") == before


def test_whole_numbers_in_one_folder_and_others_in_the_next_are_sorted_together(tmp_path: Path) -> None:
    for name, scores in (("whole", (0, 1)), ("others", (-0.5, 0.5))):
        (tmp_path / name).mkdir()
        rows = [json.dumps({"text": "a", "score": score}) for score in scores]
        (tmp_path / name / f"{name}.jsonl").write_text("\n".join(rows))
        make_shards(tmp_path / name, tmp_path / f"s-{name}", options=MakeShardsOptions(workers=1))
    run([tmp_path / "s-whole", tmp_path / "s-others"], tmp_path / "out", sort="score")
    assert keys(tmp_path / "out") == ["others@000001", "whole@000001", "others@000002", "whole@000002"]


def test_held_out_pages_stay_held_out(tmp_path: Path) -> None:
    paths = [write_mixed(tmp_path / name, name, 24) for name in ("a", "b")]
    hold_out = SplitOptions.of({"holdout": "25%", "by": "page"})
    split_shards(paths[0], hold_out)
    with pytest.raises(ConfigError, match=r"different rules \(.*25% by page; .*: none\)"):
        run(paths, tmp_path / "out")
    split_shards(paths[1], hold_out)
    held = set[str]().union(*map(held_out, paths))
    assert 0 < len(held) < 24
    run(paths, tmp_path / "out", shuffle=True)
    assert held_out(tmp_path / "out") == held
    run(paths, tmp_path / "eval", split="held_out")
    assert set(keys(tmp_path / "eval")) == held
    run(paths, tmp_path / "train", split="train", prefix_keys=True)
    assert len(keys(tmp_path / "train")) == 48 - len(held)
    with pytest.raises(ConfigError, match="they would change sides"):
        run(paths, tmp_path / "prefixed", prefix_keys=True)


def held_out(folder: Path) -> set[str]:
    column = Shards.open(folder).held_out
    assert column is not None
    return {key for key, is_held in zip(keys(folder), column, strict=True) if is_held}
