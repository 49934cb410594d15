"""TextEncoder: text to token ids, such that no text can ever form a structural or special token.

Three walls, in this order. Special tokens are neither added nor parsed (`encode_special_tokens`). That covers added
tokens with the special flag only, so the ids of a text are looked at: where one is structural all the same, the text is
cut inside it and each piece is encoded by itself. Ids are joined, never text, so no cut piece can form it again.

Tokens that are markup of the text itself pass all walls where they are allowed by name (allowed_tokens.py).
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypedDict, cast

from tokenizers import Encoding, Tokenizer

from wdstream.errors import ConfigError
from wdstream.text.allowed_tokens import find_allowed, ids_in_settings, uses_by_name
from wdstream.text.characters import replace_surrogates

# Chat and tool markup of every tokenizer looked at: <|im_start|>, <｜User｜>, and DeepSeek's <｜/table>｜.
_DELIMITER_FORM = re.compile(r"<[|｜].*|.*[|｜]>", re.DOTALL)
# What of tokenizer.json decides the ids of plain text; truncation, padding and templates are switched off.
_DECISIVE_FIELDS = ("added_tokens", "normalizer", "pre_tokenizer", "model")
_FINGERPRINT_VERSION = "wdstream text 1"
MAX_TEMPLATE = 1 << 20
"""Characters of a chat template; published ones have up to 30,000."""


class _AddedToken(TypedDict):
    id: int
    content: str
    special: bool


class _TokenizerModel(TypedDict, total=False):
    dropout: float | None
    unk_token: str | None
    unk_id: int | None


class _TokenizerJson(TypedDict, total=False):
    """What is read of tokenizer.json."""

    added_tokens: list[_AddedToken] | None
    model: _TokenizerModel | None


class TextEncoder:
    """Encodes text with a model's own tokenizer. Safe to use from many threads, which then run in parallel."""

    def __init__(
        self, tokenizer: Tokenizer, description: _TokenizerJson, config: Mapping[str, object], where: str
    ) -> None:
        """Used by `open`; `description` is tokenizer.json, `config` tokenizer_config.json."""
        self._tokenizer = tokenizer
        self._description = description
        self._config = config
        self._where = where
        self._cut_ids: frozenset[int] = frozenset()
        self._structural: frozenset[int] = frozenset()
        self._passing: frozenset[int] = frozenset()
        self.allowed: Mapping[str, int] = {}
        """Added tokens that text may form because they were named at `open`, with their ids."""
        self.chat_template: str | None = None
        """Source of the model's chat template, or None: it decides the ids of chat rows."""
        self.chat_template_file: Path | None = None
        """Where that is from."""

    @classmethod
    def open(cls, path: Path, structural: Sequence[str] = (), allow_tokens: Sequence[str] = ()) -> "TextEncoder":
        """Open the tokenizer of a model.

        Args:
            path: a folder with tokenizer.json, or that file.
            structural: further tokens that text must not form; one the tokenizer does not know cannot be formed anyway.
            allow_tokens: added tokens that text may form (text/allowed_tokens.py).

        Raises:
            ConfigError: there is no tokenizer.json, it cannot be read, or a token cannot be allowed.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        description = cast(_TokenizerJson, _read_json(file))
        config_file = file.with_name("tokenizer_config.json")
        config = _read_json(config_file) if config_file.is_file() else {}
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ConfigError(f"{file}: not a tokenizer that the tokenizers library reads: {error}") from error
        model = description.get("model")
        if isinstance(model, dict) and (dropout := model.get("dropout")):
            raise ConfigError(
                f"{file}: model.dropout is {dropout}: the tokenizer would cut the same text at random places, so no "
                "length would hold; set it to null"
            )
        encoder = cls(_prepared(tokenizer), description, config, str(path))
        try:
            encoder._set_structural(structural)
            encoder.chat_template, encoder.chat_template_file = _read_chat_template(config_file, config)
            encoder._allow(allow_tokens, structural, file.parent)
        except (TypeError, LookupError, AttributeError) as error:
            raise ConfigError(
                f"{file} or {config_file.name} next to it holds a value of another type than tokenizers have "
                f"({type(error).__name__}: {error}); copy both from the published model"
            ) from error
        return encoder

    def _set_structural(self, names: Iterable[str]) -> None:
        added = self._description.get("added_tokens") or []
        special = {token["id"] for token in added if token["special"]}
        delimiters = {token["id"] for token in added if _DELIMITER_FORM.fullmatch(token["content"])}
        named = [self.find_id(name) for name in names]
        named += [self._configured_id(role) for role in ("bos_token", "eos_token", "pad_token")]
        model: _TokenizerModel = self._description.get("model") or {}
        unknown = model.get("unk_token")
        # The unknown token is how some tokenizers write text they cannot; it is no structure.
        harmless = {None, model.get("unk_id"), self.find_id(unknown) if isinstance(unknown, str) else None}
        self._structural = frozenset(i for i in {*special, *delimiters, *named} if i is not None and i not in harmless)
        self._cut_ids = self._structural - special

    def _allow(self, wanted: Sequence[str], structural: Sequence[str], folder: Path) -> None:
        """Let text form these tokens; a tokenizer parses those with the special flag only without it."""
        if not wanted:
            return
        added = self._description.get("added_tokens") or []
        contents = {token["content"]: token["id"] for token in added}
        self.allowed = find_allowed(wanted, contents, self._uses(contents, structural, folder), self._where)
        self._passing = self._structural.intersection(self.allowed.values())
        self._structural -= self._passing
        self._cut_ids -= self._passing
        flagged = {token["id"] for token in added if token["special"]} & self._passing
        if flagged:
            plain = [token | {"special": token["special"] and token["id"] not in flagged} for token in added]
            self._tokenizer = _prepared(Tokenizer.from_str(json.dumps({**self._description, "added_tokens": plain})))

    def _uses(self, added: Mapping[str, int], structural: Iterable[str], folder: Path) -> dict[int, str]:
        """Of each token that text must not form in any case, what the model needs it for."""
        template = self.chat_template or ""
        uses = uses_by_name(self.special_tokens())
        written = [token for token in added if token.strip() and token in template]  # blanks are of its source alone
        uses |= {added[token]: "the chat template writes it" for token in written}
        uses |= ids_in_settings(folder)
        uses |= dict.fromkeys(self.template_ids, "the tokenizer puts it around every text")
        uses |= {
            added[token]: "it is part of the model's images, turns or documents"
            for token in structural
            if token in added
        }
        named = sorted(self.special_texts().items(), reverse=True)  # eos is said before pad, where one token is both
        roles = {added[text]: role for role, text in named if text in added}
        return uses | {number: f"it is the {role} of tokenizer_config.json" for number, role in roles.items()}

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without anything added around it."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; the interpreter lock is free meanwhile."""
        clean = [replace_surrogates(text) for text in texts]
        batch: list[list[int]] = [
            encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        ]
        return [
            ids if self._structural.isdisjoint(ids) else self._encode_in_pieces(text)
            for text, ids in zip(clean, batch, strict=True)
        ]

    def encode_spans(self, text: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token of `encode(text)`; start and end count characters of the text.

        A character of several tokens has the same span in each.
        """
        clean = replace_surrogates(text)
        encoding = self._tokenizer.encode(clean, add_special_tokens=False)
        if self._structural.isdisjoint(encoding.ids):
            return _spans(encoding, 0)
        spans: list[tuple[int, int, int]] = []
        begin = 0
        for piece, cut in self._cut_pieces(clean):
            spans += [span for span in _spans(cut, begin) if span[0] not in self._structural]
            begin += len(piece)
        return spans

    def special_tokens(self) -> dict[str, int]:
        """Structural tokens by content: what a chat template may write, and page text never forms."""
        added = self._description.get("added_tokens") or []
        return {token["content"]: token["id"] for token in added if token["id"] in self._structural}

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of ids of each text: the lengths of `encode_batch`, by the same path."""
        return [len(ids) for ids in self.encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens written out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _encode_in_pieces(self, text: str) -> list[int]:
        """Encode text that holds structural tokens, cut so that none is formed."""
        # Left over is only a single character that is structural by itself; no tokenizer seen has one.
        return [
            token for _, encoding in self._cut_pieces(text) for token in encoding.ids if token not in self._structural
        ]

    def _cut_pieces(self, text: str) -> list[tuple[str, Encoding]]:
        """Text that holds structural tokens as pieces with their encodings: cut inside each, until no piece forms one.

        All tokens found in one pass are cut at once, and every piece is shorter than the text it came from.
        """
        pending = [text]
        while True:
            encodings = self._tokenizer.encode_batch(pending, add_special_tokens=False)
            pieces: list[str] = []
            for piece, encoding in zip(pending, encodings, strict=True):
                pieces.extend(self._cut(piece, encoding))
            if len(pieces) == len(pending):
                return list(zip(pending, encodings, strict=True))
            pending = pieces

    def _cut(self, piece: str, encoding: Encoding) -> list[str]:
        """Split a piece after the first character of each structural token in it."""
        cuts = {
            start + 1 if start + 1 < len(piece) else 1
            for token, (start, _end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token in self._structural
        }
        if len(piece) < 2 or not cuts:
            return [piece]
        edges = [0, *sorted(cuts), len(piece)]
        return [piece[left:right] for left, right in itertools.pairwise(edges)]

    def find_id(self, token: str) -> int | None:
        """Id of a token by its exact content, or None where the tokenizer has no such token."""
        number: int | None = self._tokenizer.token_to_id(token)
        return number

    def special_texts(self) -> dict[str, str]:
        """bos_token, eos_token, ... of tokenizer_config.json, as chat templates read them."""
        texts = {role: _content(value) for role, value in self._config.items() if role.endswith("_token")}
        return {role: text for role, text in texts.items() if isinstance(text, str)}

    @property
    def structural_ids(self) -> frozenset[int]:
        """Ids that text never forms: special tokens, delimiters such as <|im_end|>, and those named at `open`."""
        return self._structural

    @property
    def eos_id(self) -> int:
        """Id that ends a document.

        Raises:
            ConfigError: tokenizer_config.json names none.
        """
        eos = self._configured_id("eos_token")
        if eos is None:
            raise ConfigError(
                f"{self._where}: tokenizer_config.json names no eos_token that the tokenizer knows "
                f"(found {self._config.get('eos_token')!r}); add it to that file"
            )
        return eos

    @cached_property
    def template_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer's own template makes of an empty text: those it puts around any."""
        return tuple(self._tokenizer.encode("", add_special_tokens=True).ids)

    @property
    def bos_id(self) -> int | None:
        """Id that the tokenizer's own template puts before a text, or None where it puts none."""
        bos = self._configured_id("bos_token")
        return bos if bos is not None and self.template_ids[:1] == (bos,) else None

    @property
    def pad_id(self) -> int:
        """Id for padding; the end-of-document id where the tokenizer names none."""
        pad = self._configured_id("pad_token")
        return self.eos_id if pad is None else pad

    def _configured_id(self, role: str) -> int | None:
        content = _content(self._config.get(role))
        return None if content is None else self.find_id(str(content))

    @cached_property
    def vocab_size(self) -> int:
        """Rows an embedding needs: the largest id plus one."""
        return 1 + max(self.ids.values())

    @property
    def ids(self) -> dict[str, int]:
        """The id of each token, of added ones too."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of everything that decides the ids of a text, whatever the layout of the file."""
        decisive: dict[str, object] = {name: self._description.get(name) for name in _DECISIVE_FIELDS}
        decisive["cut"] = sorted(self._cut_ids)
        if self._passing:
            decisive["allowed"] = sorted(self._passing)
        if self.chat_template is not None:
            decisive["chat"] = self.chat_template
        text = json.dumps(decisive, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(f"{_FINGERPRINT_VERSION}\n{text}".encode()).hexdigest()[:16]


def _prepared(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that takes whole texts, and parses no special token in them."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _spans(encoding: Encoding, begin: int) -> list[tuple[int, int, int]]:
    """(id, start, end) of each token of a piece that begins at character `begin`.

    Byte-level tokenizers leave spaces out of their offsets; here they belong to the token that holds them.
    """
    spans: list[tuple[int, int, int]] = []
    reached = 0
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        spans.append((token, begin + min(start, reached), begin + max(end, reached)))
        reached = max(end, reached)
    return spans


def _read_chat_template(config_file: Path, config: Mapping[str, object]) -> tuple[str | None, Path | None]:
    """The source of a model's chat template (chat_template.jinja or .json, or in tokenizer_config.json) and its file.

    Of several templates by name it is the one called default.

    Raises:
        ConfigError: it cannot be read, or is too long.
    """
    file = config_file.with_name("chat_template.jinja")
    source: object = None
    if file.is_file():
        source = _read_text(file)
    else:
        file = config_file.with_name("chat_template.json")
        source = _read_json(file).get("chat_template") if file.is_file() else None
        if not source:
            file, source = config_file, config.get("chat_template")
    if isinstance(source, list):
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    if not isinstance(source, str):
        return None, None
    if len(source) > MAX_TEMPLATE:
        raise _too_long(file, len(source))
    return source, file


def _read_text(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > MAX_TEMPLATE:
            raise _too_long(file, size)
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text ({error})") from error


def _too_long(file: Path, size: int) -> ConfigError:
    return ConfigError(f"{file}: a chat template of {size:,} characters, where none has more than {MAX_TEMPLATE:,}")


def _content(token: object) -> object:
    """The text of a token of tokenizer_config.json, which is a string or an object with its content."""
    return token.get("content") if isinstance(token, dict) else token


def _read_json(file: Path) -> dict[str, object]:
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise ConfigError(f"{file}: not a file but a folder, a pipe or a device; copy the model again")
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file; give a model folder that holds tokenizer.json") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a JSON object, found {type(tree).__name__}")
    return tree
