"""What reports say of rows: which fields were read as what, by file, and which are of no use."""

import json
from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.reader import Shards
from wdstream.text.maps.readings import RowReading, RowReadings


def test_counts_are_summed_and_shown() -> None:
    first, second = RowReadings(), RowReadings()
    for name in ("a.jsonl", "a.jsonl", "b.jsonl"):
        first.add(name, RowReading(how="llava: image=image, turns=conversations", unused=("lang", "url")))
    second.add("c.jsonl", RowReading(how="text=text", unused=("lang",), has_more_answers=True))
    total = first
    total.update(RowReadings.from_json(json.loads(json.dumps(second.to_json()))))
    assert list(total.lines()) == [
        "a.jsonl, b.jsonl: 3 rows are read as llava: image=image, turns=conversations",
        "c.jsonl: 1 row is read as text=text",
        "not used, kept as metadata: lang (4), url (3)",
        "1 row has several answers, of which the first is used (--answers)",
    ]
    assert RowReadings().to_json() == {}


def write(raw: Path, *rows: object) -> Path:
    raw.mkdir(exist_ok=True)
    (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return raw


def test_a_job_tells_how_rows_were_read(tmp_path: Path) -> None:
    raw = write(
        tmp_path / "raw",
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "lang": "en"},
        {"question": "Q?", "answers": ["A", "B"], "lang": "de"},
    )
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    assert list(report.readings.lines()) == [
        "rows.jsonl: 1 row is read as docvqa: question=question, answer=answers",
        "rows.jsonl: 1 row is read as sharegpt: turns=conversations",
        "not used, kept as metadata: lang (2)",
        "1 row has several answers, of which the first is used (--answers)",
    ]
    again = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    assert again.pages_made == 0 and not list(again.readings.lines())  # reported by the run that read them
    refused = make_shards(raw, tmp_path / "other", options=MakeShardsOptions(workers=1, answers="refuse"))
    assert [entry.reason for entry in refused.quarantined] == [
        "answers has 2 answers; --answers first takes the first of them"
    ]


def test_a_map_that_fits_no_row_stops_the_job_before_it_begins(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"caption": "a"}, {"caption": "b"}, [])
    with pytest.raises(ConfigError) as caught:
        make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1, map=("text=captoin",)))
    assert "no captoin here, which is the text by the map (text=captoin); near it: caption" in str(caught.value)
    assert "in none of the first 2 rows of rows.jsonl" in str(caught.value)
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1, map=("text=caption",)))
    assert report.num_pages == 2 and report.num_quarantined == 1
    assert [page.segments[0].text for page in map(Shards.open(tmp_path / "out").read_page, (0, 1))] == ["a", "b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"preset": "lava"}, "did you mean llava?"), ({"map": ("txt=a",)}, "map: txt: expected one of image, text")],
)
def test_options_that_name_no_map(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MakeShardsOptions.of(options, are_options=True)
    assert reason in str(caught.value)
