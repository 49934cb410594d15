import pytest

from wdstream.errors import ConfigError
from wdstream.raw.mets.groups import GroupCount, MetsGroups


def test_images_of_whole_pages_in_full_size_first() -> None:
    groups = [
        *("THUMBS", "MIN", "DEFAULT", "MAX", "DOWNLOAD", "OCR-D-IMG-BIN", "OCR-D-IMG", "MASTER", "OCR-D-IMG-CROP"),
        *("PRESENTATION", "Images", "HIGHRES"),
    ]
    ranked = sorted(groups, key=MetsGroups().image_rank)
    assert ranked[:7] == ["OCR-D-IMG", "MAX", "MASTER", "DEFAULT", "PRESENTATION", "Images", "HIGHRES"]
    assert {*ranked[7:]} == {"OCR-D-IMG-BIN", "OCR-D-IMG-CROP", "THUMBS", "MIN", "DOWNLOAD"}


def test_texts_that_people_corrected_first() -> None:
    groups = ["OCR-D-SEG-PAGE", "OCR-D-OCR-TESS", "ALTO", "FULLTEXT", "OCR-D-GT-PAGE", "MODS", "coordOCR"]
    assert sorted(groups, key=MetsGroups().text_rank) == [
        *("OCR-D-GT-PAGE", "FULLTEXT", "ALTO", "OCR-D-OCR-TESS", "MODS", "coordOCR", "OCR-D-SEG-PAGE"),
    ]


def test_groups_that_are_named_come_first_in_their_order() -> None:
    groups = MetsGroups(images=("MIN", "THUMBS"), texts=("OCR-D-OCR-TESS",))
    assert sorted(["MAX", "THUMBS", "MIN"], key=groups.image_rank) == ["MIN", "THUMBS", "MAX"]
    assert sorted(["OCR-D-GT-PAGE", "OCR-D-OCR-TESS"], key=groups.text_rank)[0] == "OCR-D-OCR-TESS"


def test_a_group_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--mets-text ALTOS: no METS file in RAW has this group; found ALTO, MAX"):
        MetsGroups(texts=("ALTOS",)).check(["MAX", "ALTO"])
    with pytest.raises(ConfigError, match=r"--mets-image MAX: .*found no METS file with pages"):
        MetsGroups(images=("MAX",)).check([])
    MetsGroups(images=("MAX",)).check(["MAX"])


def test_counts_are_shown_by_group() -> None:
    count = GroupCount()
    for number in range(20):
        count.add(f"G{number:02}", 1000)
    assert str(count).startswith("1,000 G00, 1,000 G01")
    assert str(count).endswith("1,000 G11, ...")
