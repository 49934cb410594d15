"""Every token of a document has one explanation, and it is the one by which the document is trained."""

from pathlib import Path

import numpy as np
import pytest

from wdstream.batches.collate import encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.nodes.tile import tile_page
from wdstream.pixels.patches import patchify
from wdstream.records import DecodedPage, ImageSegment, Segment, TextSegment, TiledPage, TokenSegment
from wdstream.report.explain import BuiltDocument, explain_images, explain_spans
from wdstream.report.html import tile_previews
from wdstream.report.view import Mask, Span
from wdstream.tiling.labels import label_page
from wdstream.tiling.policy import TilingPolicy

TILING = TilingPolicy(kind="grid", grid=(2, 1), tile_size=56, overview_size=56)
GRADIENT = np.add.outer(np.arange(60), np.arange(90))[:, :, None].repeat(3, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def family(tiny_model: Path) -> Family:
    return load_family(tiny_model)


def tiled(*segments: Segment) -> TiledPage:
    return tile_page(DecodedPage(key="page", images=(GRADIENT,), segments=segments), policy=TILING)


def explain(page: TiledPage, family: Family, *, begin: int = 0) -> list[Span]:
    pack = encode_pack([build_sample(label_page(page), family)], family)
    built = BuiltDocument(input_ids=pack.input_ids, labels=pack.labels, begin=begin, is_failed=False)
    spans = list(explain_spans(page, built, family))
    supervised = np.concatenate([np.full(span.num_tokens, span.mask is None) for span in spans])
    np.testing.assert_array_equal(supervised, pack.labels != -100)
    assert [span.begin for span in spans[1:]] == [span.end for span in spans[:-1]]
    return spans


def test_a_page(family: Family) -> None:
    spans = explain(tiled(ImageSegment(index=0), TextSegment(text="A text.")), family, begin=1000)
    assert [(span.begin, span.end, span.kind, span.mask, span.text, span.tile) for span in spans] == [
        (1000, 1009, "label", Mask.LABEL, "<global_img>", 0),
        (1009, 1015, "image", Mask.IMAGE, "<|vision_start|> <|image_pad|> x 4 <|vision_end|>", 0),
        (1015, 1025, "label", Mask.LABEL, "\n<row0_col0>", 1),
        (1025, 1031, "image", Mask.IMAGE, "<|vision_start|> <|image_pad|> x 4 <|vision_end|>", 1),
        (1031, 1041, "label", Mask.LABEL, "\n<row0_col1>", 2),
        (1041, 1047, "image", Mask.IMAGE, "<|vision_start|> <|image_pad|> x 4 <|vision_end|>", 2),
        (1047, 1051, "text", None, "A text.", None),
        (1051, 1052, "end", None, "<|im_end|>", None),
    ]


def test_text_before_the_image_and_text_that_is_given(family: Family) -> None:
    given = TextSegment(text="Q: what?", is_supervised=False)
    spans = explain(tiled(TextSegment(text="Look:"), ImageSegment(index=0), given, TextSegment(text="A flag.")), family)
    inner = [span for span in spans if span.tile is None]
    assert [(span.kind, span.mask, span.text) for span in inner] == [
        ("text", Mask.FIRST, "L"),
        ("text", None, "ook:"),
        ("prompt", Mask.PROMPT, "Q: what?"),
        ("text", None, "A flag."),
        ("end", None, "<|im_end|>"),
    ]


def test_a_chat_row_ends_itself(family: Family) -> None:
    """Turns come as ids, EOS among them; the question is given, the answer supervised."""
    encode, eos = family.encoder.encode, family.eos_id
    question = TokenSegment(ids=tuple(encode("What is it?")), is_supervised=False)
    answer = TokenSegment(ids=(*encode("A flag."), eos), is_supervised=True)
    spans = explain(tiled(ImageSegment(index=0), question, answer), family)
    assert [(span.kind, span.mask, span.text) for span in spans if span.tile is None] == [
        ("prompt", Mask.PROMPT, "What is it?"),
        ("text", None, "A flag.<|im_end|>"),
    ]


def test_two_texts_that_are_equal_are_told_apart(family: Family) -> None:
    """A page's own text may read like a label, and like another text of the page."""
    text = "<row0_col0>"
    own = TextSegment(text=text), TextSegment(text=text, is_supervised=False)
    spans = explain(tiled(ImageSegment(index=0), *own), family)
    assert [span.kind for span in spans][-3:] == ["text", "prompt", "end"]


@pytest.mark.parametrize(
    ("name", "opening"), [("gemma3", ["<bos>"]), ("paligemma", ["<bos>", "\n"]), ("smolvlm", [])], ids=str
)
def test_ids_that_open_a_document(name: str, opening: list[str], tiny_models: dict[str, Path]) -> None:
    spans = explain(tiled(ImageSegment(index=0), TextSegment(text="A text.")), load_family(tiny_models[name]))
    assert [span.text for span in spans if span.mask is Mask.OPENING] == opening
    assert [span.text for span in spans if span.mask is None] == ["A text.", spans[-1].text]


def test_an_explanation_that_does_not_fit_is_not_shown(family: Family) -> None:
    page = tiled(ImageSegment(index=0), TextSegment(text="A text."))
    sample = build_sample(label_page(page), family)
    ids = sample.input_ids.copy()
    ids[20] += 1
    built = BuiltDocument(input_ids=ids, labels=sample.labels, begin=0, is_failed=False)
    with pytest.raises(AssertionError, match="page: tokens 15:25 are not those built"):
        list(explain_spans(page, built, family))
    labels = sample.labels.copy()
    labels[48] = -100
    built = BuiltDocument(input_ids=sample.input_ids, labels=labels, begin=0, is_failed=False)
    with pytest.raises(AssertionError, match=r"tokens 48:49 \(text\) are masked"):
        list(explain_spans(page, built, family))


def test_images(family: Family) -> None:
    (image,) = explain_images(tiled(ImageSegment(index=0)), [(90, 60)], family)
    assert (image.size, image.grid, image.cut) == ((90, 60), (2, 1), "grid 2x1 and the overview")
    assert [(tile.name, tile.box, tile.size, tile.model_size, tile.num_patches) for tile in image.tiles] == [
        ("overview <global_img>", (0, 0, 90, 60), (56, 56), (56, 56), 16),
        ("tile <row0_col0>", (0, 0, 50, 60), (56, 56), (56, 56), 16),
        ("tile <row0_col1>", (40, 0, 90, 60), (56, 56), (56, 56), 16),
    ]


def test_pictures_are_the_pixels_that_are_laid_out(family: Family) -> None:
    (picture,) = tile_previews(GRADIENT, family)
    assert picture.shape == (56, 84, 3)
    laid_out = family.layout([GRADIENT])["pixel_values"]
    patches = np.empty_like(laid_out)
    patchify(picture, patch_size=14, merge_size=2, out=patches)
    np.testing.assert_array_equal(patches, laid_out)


def test_pictures_of_a_split_image(tiny_models: dict[str, Path]) -> None:
    whole = load_family(tiny_models["smolvlm"])
    split = whole.for_whole_images()
    (square,) = tile_previews(GRADIENT, whole)
    pictures = tile_previews(GRADIENT, split)
    assert len(pictures) == 13 and {picture.shape for picture in pictures} == {square.shape}
    np.testing.assert_array_equal(pictures[-1], split.layout([GRADIENT])["pixel_values"][-1].transpose(1, 2, 0))
