"""The rule that holds pages out: whole documents, a share as asked, and nothing moves when pages are added."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.plan_data import Columns, pages, planner
from wdstream.errors import ConfigError, StateError
from wdstream.plan.held_out import (
    HoldOut,
    HoldOutRule,
    count_held_out,
    document_of_file,
    document_of_folder,
    document_of_name,
    field_of,
    hash_documents,
    side_digest,
)
from wdstream.plan.protocols import Dataset

NAMES = st.from_regex(r"([a-z]{1,3}/){0,2}[a-zA-Z]{1,4}([_-][a-z]{1,3})?", fullmatch=True)
COLLECTION = st.dictionaries(NAMES, st.integers(1, 12), min_size=2, max_size=40)
"""Pages of each file, by stem."""


def keys_of(collection: dict[str, int]) -> list[str]:
    return [f"{stem}@{page:04d}" for stem, count in collection.items() for page in range(1, count + 1)]


def hashes(keys: list[str], by: str = "file", seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return hash_documents(keys, None, by=by, seed=seed)


@pytest.mark.parametrize(
    ("key", "of_file", "of_name", "of_folder"),
    [
        ("pdf/report_v2@0003", "pdf/report_v2", "pdf/report_v2", "pdf"),
        ("big@12345", "big", "big", "big@12345"),
        ("rows/all@000012", "rows/all@000012", "rows/all@000012", "rows"),
        ("scans/book_0012", "scans/book_0012", "scans/book", "scans"),
        ("report_page-3", "report_page-3", "report", "report_page-3"),
        ("report_p3", "report_p3", "report", "report_p3"),
        ("Deep3", "Deep3", "Deep", "Deep3"),
        ("book/0003", "book/0003", "book", "book"),
        ("book/p0003", "book/p0003", "book", "book"),
        ("000000123", "000000123", "000000123", "000000123"),
        ("00012.tar/000000123", "00012.tar/000000123", "00012.tar/000000123", "00012.tar"),
        ("00012.tar/doc-7", "00012.tar/doc-7", "00012.tar/doc", "00012.tar"),
        ("größe/Ä 7", "größe/Ä 7", "größe/Ä", "größe"),
        ("letter", "letter", "letter", "letter"),
        ("tars/00000@0017@0003", "tars/00000@0017", "tars/00000@0017", "tars"),
        ("tars/00000@report_p3", "tars/00000@report_p3", "tars/00000@report", "tars"),
    ],
)
def test_what_a_document_is(key: str, of_file: str, of_name: str, of_folder: str) -> None:
    assert (document_of_file(key), document_of_name(key), document_of_folder(key)) == (of_file, of_name, of_folder)


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hashes(["a@0001", "a@0002", "b"]).tolist() == [
        3363031415808563859,
        3363031415808563859,
        6426228191326185349,
    ]
    assert hashes(["a@0001"], seed=1).tolist() != hashes(["a@0001"]).tolist()
    rule = HoldOut(asked="2%", by="file").rule(hashes(["a"]))
    assert (f"{rule.threshold:x}", rule.fingerprint) == ("51eb851eb851eb8", "acfa47d6492ab226")


@given(COLLECTION, COLLECTION, st.sampled_from(["3%", "25%", "60%", "1", "7"]), st.integers(0, 3))
def test_documents_never_straddle_and_additions_move_none(
    first: dict[str, int], added: dict[str, int], asked: str, seed: int
) -> None:
    keys = keys_of(first)
    rule = HoldOut(asked=asked, by="file", seed=seed).rule(hashes(keys, seed=seed))
    rule = HoldOutRule.from_json(rule.to_json())  # as it is kept
    before = dict(zip(keys, rule.select(hashes(keys, seed=seed)).tolist(), strict=True))
    later = keys_of({stem: max(first.get(stem, 0), added.get(stem, 0)) for stem in [*added, *first]})
    after = dict(zip(later, rule.select(hashes(later, seed=seed)).tolist(), strict=True))
    assert {key: after[key] for key in keys} == before
    sides: dict[str, set[bool]] = {}
    for key, is_held_out in after.items():
        sides.setdefault(document_of_file(key), set()).add(is_held_out)
    assert all(len(side) == 1 for side in sides.values())


@given(COLLECTION, st.integers(1, 30))
def test_a_number_of_pages_is_reached_by_as_few_documents_as_their_order_allows(
    collection: dict[str, int], wanted: int
) -> None:
    keys = keys_of(collection)
    of_keys = hashes(keys)
    held = HoldOut(asked=str(wanted), by="file").rule(of_keys).select(of_keys)
    assert held.sum() >= min(wanted, len(keys))
    last = of_keys[held].max()
    assert (of_keys < last).sum() < wanted  # without the last document it was not reached


@pytest.mark.parametrize("share", ["0.5%", "2%", "10%", "50%"])
def test_the_share_of_documents_is_within_binomial_bounds(share: str) -> None:
    of_keys = hashes([f"d{number}" for number in range(20_000)])
    counts = count_held_out(HoldOut(asked=share, by="file").rule(of_keys), of_keys, str)
    chance = float(share[:-1]) / 100
    spread = math.sqrt(20_000 * chance * (1 - chance))
    assert abs(counts.documents - 20_000 * chance) < 4 * spread
    assert (counts.pages, counts.all_pages, counts.all_documents) == (counts.documents, 20_000, 20_000)


def test_a_larger_share_keeps_what_a_smaller_one_held_out() -> None:
    of_keys = hashes([f"d{number}" for number in range(2000)])
    small, large = (HoldOut(asked=share, by="file").rule(of_keys).select(of_keys) for share in ("2%", "5%"))
    assert 0 < small.sum() < large.sum()
    assert (large[small]).all()


def test_a_field_decides_and_pages_without_it_go_by_their_file() -> None:
    values = ["x", "x", None, None, 1, 1.0]
    found = hash_documents(["a@0001", "b", "c@0001", "c@0002", "d", "e"], values, by="doc_id", seed=0)
    assert len(set(found.tolist())) == 3
    assert found[0] == found[1] and found[2] == found[3] and found[4] == found[5]
    assert [field_of(by) for by in ("file", "doc_id", "meta_file", "meta_x")] == [None, "doc_id", "file", "meta_x"]


@pytest.mark.parametrize("asked", ["", "0", "-3", "0%", "100%", "0.0%", "2", "1e3", "2.5", "½%", "2 %%", "nan%", "٣%"])
def test_what_is_asked_for_is_a_share_or_a_number_of_pages(asked: str) -> None:
    if asked == "2":
        HoldOut(asked=asked, by="file")
        return
    with pytest.raises(ConfigError, match="neither a share between 0% and 100%, such as 2%, nor a number of pages"):
        HoldOut(asked=asked, by="file")


@pytest.mark.parametrize(("asked", "what"), [("0.000001%", "no page would be held out"), ("99", "every page would be")])
def test_one_side_alone_is_refused(asked: str, what: str) -> None:
    of_keys = hashes(["a@0001", "a@0002", "b@0001"])
    counts = count_held_out(HoldOut(asked=asked, by="file").rule(of_keys), of_keys, lambda row: "a@0001")
    with pytest.raises(ConfigError, match=f"{what}.* of 3 pages in 2 documents"):
        counts.require_both_sides()
    assert "2 of 3 pages count as one document, that of 'a@0001'" in counts.lines()[1]


@pytest.mark.parametrize("change", [{"threshold": "0"}, {"threshold": "1" + "0" * 16 + "1"}, {"seed": None}, {"by": 3}])
def test_a_rule_that_is_none_is_refused(change: dict[str, object]) -> None:
    rule = HoldOutRule(asked="2%", by="file", seed=0, threshold=7)
    with pytest.raises(ValueError):
        HoldOutRule.from_json(rule.to_json() | change)


def split_pages(*, shift: int = 0) -> Columns:
    columns = pages(60)
    columns.held_out = (np.arange(60) + shift) % 6 == 0
    return columns


def samples(*datasets: object, **settings: object) -> list[int]:
    plan = planner(*datasets, epochs=1, tail="pad", **settings)
    return sorted(sample for step in plan.steps() for pack in step.packs for sample in pack.samples)


def test_the_sides_of_a_split_are_all_pages_each_once() -> None:
    columns = split_pages()
    held, trained, everything = (
        samples(Dataset(columns=columns, name="d", split=split)) for split in ("held_out", "train", "all")
    )
    assert held == [row for row in range(60) if row % 6 == 0]
    assert sorted(held + trained) == everything == list(range(60))
    assert samples(columns) == trained  # nobody has to ask


def test_a_plan_says_what_is_held_out() -> None:
    summary = planner(split_pages(), epochs=1, where="tokens > 0").summary()
    assert (summary.samples, summary.held_out, summary.pages) == (60, 10, 50)
    assert dict(summary.rejects) == {"held out": 10}
    held = planner(Dataset(columns=split_pages(), name="d", split="held_out"), epochs=1).summary()
    assert dict(held.rejects) == {"not held out": 50}


def test_an_index_without_a_split_plans_and_is_named_as_before() -> None:
    plain = pages(60)
    explicit = planner(Dataset(columns=plain, name="data0", split="all"))
    assert planner(plain).fingerprints == explicit.fingerprints
    assert "split" not in explicit.fingerprints
    everything = planner(Dataset(columns=split_pages(), name="data0", split="all"))
    assert everything.fingerprints == explicit.fingerprints


@pytest.mark.parametrize("on_change", ["refuse", "keep"])
def test_another_split_does_not_continue_a_run_and_is_named(on_change: str) -> None:
    steps = planner(split_pages()).steps()
    next(steps)
    state = steps.state()
    steps.close()
    for other in (split_pages(shift=1), pages(60), Dataset(columns=split_pages(), name="data0", split="all")):
        with pytest.raises(StateError, match=r"split: expected [0-9a-f]{16} as in the state.*which pages are held out"):
            planner(other, on_change=on_change).resume(state)
    with pytest.raises(StateError, match="split: expected None as in the state"):
        planner(split_pages()).resume(planner(pages(60)).initial_state())


def test_held_out_pages_of_an_index_without_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'d': split: held_out, but no page of SHARDS is held out; `wdstream split"):
        planner(Dataset(columns=pages(3), name="d", split="held_out"))


def test_digests_tell_sides_and_columns_apart() -> None:
    column = np.array([True, False, False])
    digests = {side_digest("train", column), side_digest("held_out", column), side_digest("train", ~column)}
    assert len(digests) == 3
    assert side_digest("all", column) == side_digest("train", None) == ""
