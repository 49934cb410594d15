import numpy as np
import pytest

from wdstream.errors import ConfigError
from wdstream.plan.filter import UNKNOWN_KIND, Where

COLUMNS = {"tokens": np.array([1, 5, 9]), "language": np.array(["en", "de", "en"]), "dataset": "books"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tokens < 5", [True, False, False]),
        ("not tokens < 5", [False, True, True]),
        ("1 < tokens <= 5", [False, True, False]),
        ("tokens % 4 == 1 and language == 'en'", [True, False, True]),
        ("language in ['de', 'fr'] or tokens == -1 + 2", [True, True, False]),
        ("language not in ('de',)", [True, False, True]),
        ("language in []", [False, False, False]),
        ("tokens / 2 > 2.4", [False, True, True]),
        ("tokens // 0 > 0", [False, False, False]),
        ("(dataset == 'books') == True", [True, True, True]),
        ("dataset != 'books' or tokens > 8", [False, False, True]),
        ("  tokens\t>= 9 ", [False, False, True]),
    ],
)
def test_expressions(text: str, expected: list[bool]) -> None:
    assert Where(text).select(COLUMNS, 3).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "tokens.__class__",
        "tokens[0] > 1",
        "(lambda: 1)() == 1",
        "[token for token in tokens] == 1",
        "tokens ** 99999999 > 1",
        "tokens if tokens else 1",
        "(tokens := 3) > 1",
        "f'{tokens}' == ''",
        "tokens is 3",
        "~tokens > 1",
        "b'x' == tokens",
        "None == tokens",
        "tokens << 3 > 1",
        "tokens == 1j",
    ],
)
def test_what_is_not_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="is not allowed; use columns"):
        Where(text)


@pytest.mark.parametrize("text", ["", "tokens <", "tokens = 3", "a; b", "\0", "(" * 500])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an expression"):
        Where(text)


def test_unknown_columns_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no column 'page'; there are dataset, language, tokens"):
        Where("page > 1").select(COLUMNS, 3)


@pytest.mark.parametrize("text", ["tokens", "tokens + 1", "'a'"])
def test_only_comparisons_choose(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a comparison"):
        Where(text).select(COLUMNS, 3)


LACKING = {
    "tokens": np.array([1, 5, 9]),
    "language": np.ma.masked_array(np.array(["en", "de", ""], dtype=object), [False, False, True]),
    "share": np.ma.masked_array(np.array([0.5, 0.0, 0.99]), [False, True, False]),
    "scan": np.ma.masked_array(np.array([True, False, True]), [False, False, True]),
    "nowhere": np.ma.masked_array(np.zeros(3, UNKNOWN_KIND), [True, True, True]),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("language == 'de'", [False, True, False]),
        ("language != 'de'", [True, False, False]),
        ("not language == 'de'", [True, False, True]),
        ("language in ['en', '']", [True, False, False]),
        ("language not in ['en', '']", [False, True, False]),
        ("language < 'e'", [False, True, False]),
        ("share > 0.9 or language == 'en'", [True, False, True]),
        ("share > 0.9 and language == 'en'", [False, False, False]),
        ("0.1 < share < 0.6", [True, False, False]),
        ("share * tokens >= 0", [True, False, True]),
        ("-share < 1", [True, False, True]),
        ("scan", [True, False, False]),
        ("not scan", [False, True, True]),
        ("scan == False", [False, True, False]),
        ("scan and tokens < 5", [True, False, False]),
        ("nowhere == 'x'", [False, False, False]),
        ("nowhere > 3 or tokens == 5", [False, True, False]),
        ("nowhere + 1 > 3", [False, False, False]),
        ("not nowhere", [True, True, True]),
    ],
)
def test_what_a_page_lacks_it_does_not_compare(text: str, expected: list[bool]) -> None:
    assert Where(text).select(LACKING, 3).tolist() == expected


@pytest.mark.parametrize("text", ["language == 3", "language in ['de', 3]", "share == '0.5'", "language < tokens"])
def test_text_is_not_compared_with_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="text is compared with a number"):
        Where(text).select(LACKING, 3)


@pytest.mark.parametrize("text", ["tokens + language > 1", "tokens in 5", "1 / 0 == tokens", "tokens < 'a'"])
def test_mixed_kinds(text: str) -> None:
    with pytest.raises(ConfigError, match="where:"):
        Where(text).select(COLUMNS, 3)
