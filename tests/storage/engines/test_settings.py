"""The options that say who does the work."""

import pytest

from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import PartSettings


def test_what_is_asked_for() -> None:
    assert PartSettings().own_part is None and not PartSettings().merges
    assert PartSettings(part="02/60").own_part == WorkPart(number=2, of=60)
    assert PartSettings(merge=True).merges and PartSettings(merge_from=("a",)).merges
    assert PartSettings(engine="ray://head:10001").engine == "ray://head:10001"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"engine": "spark"}, "expected local, ray or ray://HOST:PORT, found 'spark'"),
        ({"engine": "ray:"}, "expected local, ray or ray://HOST:PORT"),
        ({"part": "0/2"}, "such as 2/60"),
        ({"part": "1/2", "merge": True}, "give one of them"),
        ({"part": "1/2", "merge_from": ["a"]}, "give one of them"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        PartSettings.of(wrong)


def test_no_engine_is_in_the_manifest() -> None:
    """Whoever makes them, the shards are the same."""
    assert MakeShardsOptions(engine="ray", part="1/2").content() == MakeShardsOptions().content()


@pytest.mark.parametrize("taking", [{"overwrite": True}, {"retry_quarantined": True}, {"retry_reason": "x"}])
def test_a_part_takes_nothing_away(taking: dict[str, object]) -> None:
    for one in ({"part": "1/2"}, {"merge": True}):
        with pytest.raises(ConfigError, match="merge first"):
            MakeShardsOptions.of({**one, **taking})
