"""`where` over metadata of several datasets: names, near names, what pages lack, and what could not be columns."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.plan_data import pages, planner
from wdstream.errors import ConfigError, StateError
from wdstream.plan.protocols import Dataset


def language(*values: str | None) -> np.ndarray:
    return np.ma.masked_array(np.array(values, dtype=object), [value is None for value in values])


def dataset(name: str, **metadata: np.ndarray) -> Dataset:
    columns = pages(4, seed=len(name))
    columns.metadata.update(metadata)
    return Dataset(columns=columns, name=name)


def chosen(*datasets: Dataset, where: str) -> list[int]:
    plan = planner(*datasets, where=where, epochs=1, tail="pad", global_batch_size=1)
    return sorted(sample for step in plan.steps() for pack in step.packs for sample in pack.samples)


def test_pages_of_one_language() -> None:
    books = dataset("books", language=language("de", "en", None, "de"), width=np.array([1, 2, 3, 4]))
    assert chosen(books, where="language == 'de'") == [0, 3]
    assert chosen(books, where="language != 'de'") == [1]
    assert chosen(books, where="language == 'de' and width > 0") == [0, 3]  # the picture's
    assert chosen(books, where="meta_width > 2") == [2, 3]


def test_a_dataset_whose_pages_all_lack_the_name() -> None:
    books, scans = dataset("books", language=language("de", "en", None, "de")), dataset("scans")
    assert chosen(books, scans, where="language == 'de'") == [0, 3]
    assert chosen(books, scans, where="language == 'de' or dataset == 'scans'") == [0, 3, 4, 5, 6, 7]


def test_the_plan_says_how_many_pages_lack_it() -> None:
    books, scans = dataset("books", language=language("de", "en", None, "de")), dataset("scans")
    summary = planner(books, scans, where="language == 'de' or tokens > 0").summary()
    assert summary.absent == {"language": 5}
    assert planner(books).summary().absent == {}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "lanugage == 'de'",
            r"no column 'lanugage', and no page has .*; did you mean 'language'\. There are",
        ),
        ("tokns < 5", r"no column 'tokns', .*did you mean 'tokens'"),
        ("zzz == 1", r"no page has metadata of this name\. There are"),
    ],
)
def test_a_name_that_no_page_has(where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planner(dataset("books", language=language("de", "en", None, "de")), where=where)
    with pytest.raises(ConfigError, match="where: "):
        planner(dataset("books"), curriculum=[{"epochs": 1, "where": where}])


def test_what_could_not_become_a_column_says_why() -> None:
    scans = dataset("scans")
    scans.columns.left_out["language"] = "it holds values of several kinds"  # type: ignore[attr-defined]
    books = dataset("books", language=language("de", "en", None, "de"))
    with pytest.raises(
        ConfigError, match="'language' could not become a column of dataset 'scans': it holds values of several kinds"
    ):
        planner(books, scans, where="language == 'de'")


def test_one_folder_as_two_datasets_with_weights_of_their_own() -> None:
    columns = pages(40)
    columns.metadata["script"] = language(*["Latn", "Arab"] * 20)
    latin = Dataset(columns=columns, name="latin", weight=3, where="script == 'Latn'")
    arabic = Dataset(columns=columns, name="arabic", weight=1, where="script == 'Arab'")
    plan = planner(latin, arabic, pool=1, global_batch_size=1)
    steps = plan.steps()
    samples = [sample for _ in range(100) for pack in next(steps).packs for sample in pack.samples]
    steps.close()
    rows = [(sample // 40, sample % 40 % 2) for sample in samples]  # of which dataset, and whether it is an odd row
    assert set(rows) == {(0, 0), (1, 1)}
    assert rows.count((0, 0)) / len(rows) == pytest.approx(0.75, abs=0.02)


def test_an_expression_of_a_dataset_is_part_of_its_plan() -> None:
    books = dataset("books", language=language("de", "en", None, "de"))
    chosen_ones = replace(books, where="language == 'de'")
    assert chosen(chosen_ones, dataset("scans"), where="tokens > 0") == [0, 3, 4, 5, 6, 7]
    before = planner(books).initial_state().to_json()
    planner(replace(books, where=None)).resume(before)
    with pytest.raises(StateError, match=r"order: expected .*where"):
        planner(chosen_ones).resume(before)
    with pytest.raises(ConfigError, match="no column 'lang', and no page has metadata of this name"):
        planner(replace(books, where="lang == 'de'"), dataset("scans", lang=language("de", "de", "de", "de")))
    with pytest.raises(ConfigError, match="is not an expression"):
        planner(replace(books, where="language ="))
