import pytest

from wdstream.raw.texts.language import language_tag


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("deu", "de"),
        ("ger", "de"),
        ("de-DE", "de-DE"),
        ("German", "de"),
        ("deu+eng", "de"),
        ("eng, fra", "en"),
        ("chi_sim", "zh-Hans"),
        ("deu_latf", "de-Latf"),
        ("gmh", "gmh"),
        ("", None),
        ("und", None),
        ("osd", None),
        ("other", None),
        ("\x1b[31m", None),
    ],
)
def test_tags(name: str, tag: str | None) -> None:
    assert language_tag(name) == tag
