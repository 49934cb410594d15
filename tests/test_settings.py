"""Settings: what a station's settings have in common."""

import re

import pytest
from pydantic import Field

from wdstream.errors import ConfigError
from wdstream.settings import Settings


class Inner(Settings):
    size: int = Field(gt=0)


class Outer(Settings):
    section = "tiling"
    inner: tuple[Inner, ...] = ()
    some: tuple[Inner, ...] = Field(default=(Inner(size=1),), min_length=1)
    side: int | tuple[int, int] = 1
    overlap: float = Field(default=0.0, ge=0, lt=0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": 7}, "tiling.overlap: expected less than 0.5, found 7"),
        ({"inner": [{"size": 0}]}, "tiling.inner[0].size: expected greater than 0, found 0"),
        ({"inner": [{"size": 1}, {}]}, "tiling.inner[1].size: missing"),
        ({"inner": [{"size": 1, "sise": 1}]}, "tiling.inner[0].sise: unknown key"),
        ({"overlap": 7, "inner": [{}]}, "tiling.inner[0].size: missing\ntiling.overlap: expected less than 0.5, found"),
        ({"overlap": False}, "tiling.overlap: expected a number, found False"),
        ({"side": True}, "tiling.side: expected a number, found True"),
        ({"side": [1, True]}, "tiling.side: expected a number, found True"),
        ({"inner": [{"size": True}]}, "tiling.inner[0].size: expected a number, found True"),
        ({"some": ()}, "tiling.some: Tuple should have at least 1 item"),
    ],
)
def test_mistakes_are_named_with_their_path(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Outer(**values)  # type: ignore[arg-type]


def test_yes_is_a_value_where_a_setting_takes_it() -> None:
    class Both(Settings):
        layers: bool | int | Inner = False

    assert Both(layers=True).layers is True


def test_pydantic_does_not_show() -> None:
    """No tags of a union's branches, and nothing said of a tuple that is short only because its entries are wrong."""
    with pytest.raises(ConfigError) as caught:
        Outer.of({"some": [{"size": 0}], "side": "x"})
    assert str(caught.value).splitlines() == [
        "tiling.some[0].size: expected greater than 0, found 0",
        "tiling.side: expected a whole number, found 'x'",
        "tiling.side: expected a list, found 'x'",
    ]


def test_settings_are_values() -> None:
    settings = Outer(inner=(Inner(size=2),))
    assert settings.replace(overlap=0.25) == Outer(inner=(Inner(size=2),), overlap=0.25)
    assert len({settings, Outer(inner=(Inner(size=2),)), settings.replace(overlap=0.1)}) == 2
    with pytest.raises(ConfigError, match="overlap"):
        settings.replace(overlap=1)
