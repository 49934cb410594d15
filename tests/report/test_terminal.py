"""A pack in the terminal: every run in a line, in the colour of its loss; nothing on a page acts on the terminal."""

import io
from dataclasses import replace

from rich.console import Console

from wdstream.report.terminal import print_pack
from wdstream.report.view import DocumentView, PackView


def printed(view: PackView, *, width: int = 160, full: bool = False) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    print_pack(view, console, full=full)
    return console.export_text()


def lines(view: PackView, *documents: DocumentView, full: bool = False) -> list[str]:
    """What is printed of a pack with these documents, without the spaces that make columns."""
    text = printed(replace(view, documents=documents), full=full)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_head(view: PackView) -> None:
    head = lines(view, *view.documents)[:12]
    assert head[0].startswith("step 0, pack 0 ──")
    assert head[1].startswith("tokens ━") and head[1].endswith("1,121 of 4,096 27.3 %")
    assert head[2].startswith("patches ━") and head[2].endswith("1,160 of 8,192 14.1 %")
    assert head[3] == "run runs/[bold]&<b>.yaml: the only pack of its step, number 0 of the run"
    assert head[5:11] == [
        "content 5 documents, 35 tiles",
        "supervised 412 tokens",
        "masked 288 image block (stands for pixels, which are not predicted)",
        "276 tile label (tells the model which tile follows)",
        "144 failed page (keeps the slot of a page that could not be read)",
        "1 first token (nothing before it in its document predicts it)",
    ]


def test_a_row(view: PackView, documents: dict[str, DocumentView]) -> None:
    shown = lines(view, documents["rows@000001"])
    start = shown.index("4 rows@000001")
    assert shown[start + 1 : start + 9] == [
        "tokens 970:1121 (151, 9 supervised); 232 patches; shard-000000.tar row 5 of shards, sample 5",
        "image 0: 90x30, grid 3x2 and the overview",
        "tokens count what loss",
        "970:971 1 L masked: first token",
        "971:974 3 ook: supervised",
        "974:983 9 <global_img> masked: tile label",
        "983:989 6 overview <global_img>: 0,0 to 90,30 as 56x56, 16 patches; <|vision_start|> <|image_pad|> x 4 "
        "<|vision_end|> masked: image block",
        "989:999 10 ⏎<row0_col0> masked: tile label",
    ]
    assert shown[-2:] == ["1115:1120 5 a flag. supervised", "1120:1121 1 <|im_end|> supervised"]


def test_hostile_text_is_text(view: PackView, documents: dict[str, DocumentView]) -> None:
    shown = lines(view, documents["images/hostile"])
    text = documents["images/hostile"].spans[-2]  # where it is, is up to the packer
    assert f"{text.begin}:{text.end} 82 </div><script>alert(1)</script> supervised" in shown
    assert '<img src=x onerror="alert(2)"> & <|image_pad|> <U+202E>{{ 7 * 7 }} [red]not markup[/]' in shown


def test_escapes_do_not_reach_the_terminal(view: PackView, documents: dict[str, DocumentView]) -> None:
    document = documents["images/hostile"]
    text = replace(document.spans[-2], text="\x1b[2J\x1b]0;title\x07")
    failed = replace(document, spans=(*document.spans[:-2], text, document.spans[-1]), failure="\x1b[31mbad")
    shown = printed(replace(view, documents=(failed,)))
    assert "␛[2J␛]0;title␇" in shown and "failed: ␛[31mbad" in shown
    assert "\x1b" not in shown


def test_a_failed_page_says_why(view: PackView, documents: dict[str, DocumentView]) -> None:
    shown = lines(view, documents["images/damaged"])
    assert any(line.startswith("failed: ") and "row 2: checksum" in line for line in shown)
    assert shown[-2:] == [
        "141:143 2 <|endoftext|> x 2 masked: failed page",
        "143:144 1 <|im_end|> masked: failed page",
    ]


def test_colours(view: PackView) -> None:
    console = Console(record=True, width=160, file=io.StringIO(), force_terminal=True, color_system="standard")
    print_pack(view, console)
    styled = console.export_text(styles=True)
    assert "\x1b[32ma flag." in styled
    assert "\x1b[36mmasked: first token" in styled
    assert "\x1b[34mmasked: image block" in styled


def test_many_tiles_and_long_texts_are_shortened(view: PackView, documents: dict[str, DocumentView]) -> None:
    document = documents["images/tesseract-phototest-rotated-L"]
    tiles, text, end = document.spans[:14], document.spans[14], document.spans[15]
    long = replace(document, spans=(*tiles, *tiles, replace(text, text="word " * 400), end))
    shown = lines(view, long)
    assert "... 6 more tiles and their labels; --full shows them ... masked" in " ".join(shown)
    assert any("... 1,5" in line and "more characters ..." in line for line in shown)
    full = lines(view, long, full=True)
    assert " ".join(full).count("word") == 400
    assert sum("masked: image block" in line for line in full) == 14


def test_an_empty_pack(view: PackView) -> None:
    assert lines(view)[-1] == "The pack is empty: it fills up the last step of the run (data.tail: pad)."
