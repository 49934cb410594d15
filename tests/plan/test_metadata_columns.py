"""`where` over metadata of several datasets: names, near names, what pages lack, and what could not be columns."""

import numpy as np
import pytest

from tests.helpers.plan_data import pages, planner
from wdstream.errors import ConfigError
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
