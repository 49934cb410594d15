import numpy as np
import pytest

from wdstream.errors import ConfigError
from wdstream.plan.filter import Where

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


@pytest.mark.parametrize("text", ["tokens + language > 1", "tokens in 5", "1 / 0 == tokens", "tokens < 'a'"])
def test_mixed_kinds(text: str) -> None:
    with pytest.raises(ConfigError, match="where:"):
        Where(text).select(COLUMNS, 3)
