"""How datasets are called: the same in plans, reports and evaluations, mixes without a name too."""

from wdstream.config.build import sets_of
from wdstream.config.schema import Config, set_name


def test_a_mix_without_a_name_has_one() -> None:
    entries = [{"path": "/data/a"}, {"path": "/data/b", "name": "other"}, {"datasets": [{"path": "/data/c"}]}]
    config = Config.of({"model": {"path": "none"}, "data": {"train": [{"path": "/data/t"}], "eval": entries}})
    assert [set_name(entry) for entry in config.data.eval] == ["a", "other", "mix"]
    assert [name for name, _ in sets_of(config)] == ["t", "a", "other", "c"]
