"""info counts what is in sets of shards, from their indexes alone."""

import json
import shutil
from pathlib import Path

from tests.helpers.command import run
from tests.helpers.web_server import serving
from wdstream.curation.info import info
from wdstream.make_shards import add_token_column
from wdstream.shards.reader import Shards


def test_every_figure_of_a_small_set(mixed: Path) -> None:
    found = info([("mixed", mixed)]).total.as_dict(top=2)
    metadata = found.pop("metadata")
    size = {"count": 4, "sum": 1680, "min": 420, "p5": 420, "median": 420, "p95": 420, "max": 420}
    reason = "N images, but the text has N of <image>, N of <|image_pad|>, N of <start_of_image>, N of <|image|>"
    assert found == {
        "name": "mixed",
        "path": str(mixed),
        "shards": 3,
        "pages": 7,
        "bytes": sum(tar.stat().st_size for tar in mixed.glob("*.tar")),
        "images": 4,
        "pages_without_image": 3,
        "pages_without_text": 0,
        "pages_held_out": 0,
        "images_per_page": {"count": 7, "sum": 4, "min": 0, "p5": 0, "median": 1, "p95": 1, "max": 1},
        "image_width": size,
        "image_height": {**size, "sum": 2240} | dict.fromkeys(("min", "p5", "median", "p95", "max"), 560),
        "image_pixels": {**size, "sum": 940800} | dict.fromkeys(("min", "p5", "median", "p95", "max"), 235200),
        "text_chars": {"count": 7, "sum": 108, "min": 3, "p5": 3, "median": 21, "p95": 26, "max": 27},
        "tokens": {},
        "sources": {
            "suffix": {"distinct": 2, "values": {".png": 4, ".jsonl": 3}},
            "top": {"distinct": 3, "values": {"rows/": 3, "scans/": 3}},
            "file": {"distinct": 5, "values": {"rows/mixed.jsonl": 3, "old/a.png": 1}},
        },
        "metadata_left_out": {},
        "refused": {
            "quarantine.jsonl": {
                "distinct": 2,
                "values": {reason: 1, "no text": 1},
            },
            "index/left_out.jsonl": {"distinct": 0, "values": {}},
        },
    }
    assert metadata == {
        "is_clean": {"absent": 6, "distinct": 1, "values": {"true": 1}},
        "language": {"absent": 4, "distinct": 2, "values": {"de": 2, "en": 1}},
        "licence": {"absent": 5, "distinct": 1, "values": {"CC0": 2}},
        "line": {"absent": 4, "numbers": {"count": 3, "sum": 7, "min": 1, "p5": 1, "median": 2, "p95": 2, "max": 4}},
        "score": {
            "absent": 5,
            "numbers": {"count": 2, "sum": 2.0, "min": 0.5, "p5": 0.5, "median": 0.5, "p95": 0.5, "max": 1.5},
        },
        "source": {"absent": 0, "distinct": 5, "values": {"rows/mixed.jsonl": 3, "old/a.png": 1}},
        "year": {
            "absent": 5,
            "numbers": {"count": 2, "sum": 4020, "min": 1999, "p5": 1999, "median": 1999, "p95": 1999, "max": 2021},
        },
    }


def test_several_sets_add_up(mixed: Path, tmp_path: Path, tiny_model: Path) -> None:
    other = Path(shutil.copytree(mixed, tmp_path / "other"))
    add_token_column(other, tiny_model)
    report = info([("one", mixed), ("two", other), ("again", mixed)])
    one, two = report.sets
    assert ([each.name for each in report.sets], report.total.path) == (["one", "two"], None)
    assert report.total.figures.pages == 14
    assert report.total.figures.values["language"] == {"de": 4, "en": 2}
    assert report.total.sizes["text_chars"].total == 2 * one.sizes["text_chars"].total
    (tokens,) = (name for name in two.sizes if "tokens." in name)
    assert report.total.sizes[tokens] == two.sizes[tokens]  # of the set that has them
    assert report.total.figures.refused["quarantine.jsonl"].total() == 4


def test_no_tar_is_read(mixed: Path, tmp_path: Path) -> None:
    """Of a folder of which only the index is there, and of an address."""
    bare = tmp_path / "bare"
    shutil.copytree(mixed / "index", bare / "index")
    shutil.copy(mixed / "quarantine.jsonl", bare)
    wanted = info([("set", mixed)]).total.as_dict(top=9)
    with serving(bare) as server:
        for path in (str(bare), server.url):
            assert info([("set", path)]).total.as_dict(top=9) == wanted | {"path": path}


def test_the_command_takes_folders_and_a_configuration(mixed: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: {{path: none}}\ndata:\n  train: [{{path: {mixed}, name: pages}}]\n  eval: [{{path: {mixed}}}]\n"
        "  sequence_length: 512\n  max_patches: 4096\n  global_batch_size: 1\n"
    )
    as_json = json.loads(run("info", config, f"{mixed}/", "--json").stdout)
    assert [(each["name"], each["pages"]) for each in as_json["datasets"]] == [("pages", 7)]
    shown = run("info", mixed, "--top", "1").stdout
    assert "pages   7 in 3 shards" in shown
    assert "images  4; 3 (42.8 %) of pages have none" in shown
    assert "... 1 more" in shown


def test_held_out_pages_are_counted(mixed: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(mixed, tmp_path / "other"))
    assert run("split", other, "--holdout", "2").returncode == 0
    held_out = Shards.open(other).held_out
    assert held_out is not None
    report = info([("one", mixed), ("two", other)])
    assert [each.figures.held_out for each in (*report.sets, report.total)] == [0, held_out.sum(), held_out.sum()]
    assert f"held out  {held_out.sum()} (" in run("info", other).stdout


def test_added_tokens_that_texts_name(tmp_path: Path, tiny_model: Path) -> None:
    """In an even sample; special ones too, though no text forms them."""
    raw = tmp_path / "raw"
    raw.mkdir()
    texts = ["<|im_end|> twice <|im_end|>", "none", "<|im_end|>", "<|im_start|>"]
    (raw / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out = tmp_path / "shards"
    assert run("make-shards", raw, out, "--workers", "1").returncode == 0
    found = json.loads(run("info", out, "--tokens", tiny_model, "--json").stdout)["added_tokens"]
    tokens = {"<|im_end|>": {"count": 3, "pages": 2}, "<|im_start|>": {"count": 1, "pages": 1}}
    assert found == {str(out): {"pages_read": 4, "pages_unreadable": 0, "tokens": tokens}}
    shown = run("info", out, "--tokens", tiny_model, "--sample", "2").stdout
    assert "the texts of 2 pages name these added tokens" in shown
    assert run("info", out, "--tokens", raw).returncode == 2


def test_what_has_no_index_is_an_error_that_says_so(tmp_path: Path) -> None:
    done = run("info", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} has no index/index.json: run `wdstream index {tmp_path}`" in done.stderr


def test_an_empty_set_of_numbers_and_odd_values_do_no_harm(mixed: Path, tmp_path: Path) -> None:
    """A value that would act on the terminal is written out; an index without a page has figures of 0."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "rows.jsonl").write_text('{"text": "x", "licence": "\\u001b[31mred", "note": ""}\n')
    assert run("make-shards", raw, tmp_path / "shards", "--workers", "1").returncode == 0
    shown = run("info", tmp_path / "shards").stdout
    assert "\x1b[31mred" not in shown
    assert "␛[31mred" in shown
