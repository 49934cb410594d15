"""Tokens that are markup of the text itself, such as DocTags `<otsl>` or a box `<loc_12>`, and which it may form.

They are named one by one or by a pattern, and looked up among the added tokens of a tokenizer. One that a model needs
for something else is refused, since a page that writes it would end a turn, or begin an image.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import ConfigError
from wdstream.text.characters import one_line

if TYPE_CHECKING:
    from wdstream.text.encoder import TextEncoder

_SHOWN = 5
_SETTING = "text.allow_tokens (--allow-token)"
_ID_KEY = re.compile(r".*_token_(?:id|index)")
_TURNS = {"user", "assistant", "system", "human", "bot", "chatbot", "turn", "im", "observation", "tool", "tools"}
_ENDS = {"bos", "eos", "eot", "eom", "pad", "unk", "endoftext", "sentence"}
_MEDIA = {"image", "images", "img", "imgpad", "vision", "video", "audio"}
_NEEDED_WORDS = _TURNS | _ENDS | _MEDIA
_WORD = re.compile("[^\\W_▁]+")
_FILES_WITH_IDS = ("config.json", "generation_config.json")
_ROWS_AT_ONCE = 64


def find_allowed(
    wanted: Sequence[str], added: Mapping[str, int], uses: Mapping[int, str], where: str
) -> dict[str, int]:
    """The added tokens that are wanted, by content, with their ids.

    Args:
        wanted: contents, or patterns in which `*` stands for any characters.
        added: ids of all added tokens by content.
        uses: of each token that text must not form, what the model needs it for.
        where: whose tokens they are, for errors.

    Raises:
        ConfigError: there is no such token, or one that text must not form is among them; says why.
    """
    found: dict[str, int] = {}
    for name in wanted:
        matches = _matches(name, added)
        if not matches:
            raise ConfigError(f"{_SETTING}: {_unknown(name, added, where)}")
        refused = [token for token in matches if added[token] in uses]
        if refused:
            named = "" if refused == [name] else f", which {name} matches,"
            raise ConfigError(
                f"{_SETTING}: text must not form {one_line(refused[0])}{named} for {where}: "
                f"{uses[added[refused[0]]]}; leave it out"
            )
        found |= {token: added[token] for token in matches}
    return found


def count_allowed(encoder: "TextEncoder", texts: Iterable[str]) -> dict[str, int]:
    """How often texts form each of the tokens that `encoder` allows; those they never form are left out.

    The most frequent come first, equal ones by name.
    """
    names = {number: token for token, number in encoder.allowed.items()}
    counts: Counter[str] = Counter()
    batch: list[str] = []
    for text in texts if names else ():
        batch.append(text)
        if len(batch) == _ROWS_AT_ONCE:
            counts.update(_named(encoder.encode_batch(batch), names))
            batch.clear()
    counts.update(_named(encoder.encode_batch(batch), names))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def uses_by_name(structural: Mapping[str, int]) -> dict[int, str]:
    """Of structural tokens by content, those whose name has a word of turns, ends or images: a tokenizer without its
    model says no more of them."""
    said = "its name says that it is for turns, images, or the ends of documents"
    return {
        number: said
        for token, number in structural.items()
        if not _NEEDED_WORDS.isdisjoint(word.lower() for word in _WORD.findall(token))
    }


def ids_in_settings(folder: Path) -> dict[int, str]:
    """Ids that the settings of a model name (`eos_token_id`, `image_token_index`), with where they do; none of a folder
    without settings, or with none that can be read: those who need them say so."""
    found: dict[int, str] = {}
    for name in _FILES_WITH_IDS:
        for key, value in _settings_of(folder / name):
            ids = value if isinstance(value, list) else [value]
            found |= {number: f"it is {key} of {name}" for number in ids if isinstance(number, int)}
    return found


def _settings_of(file: Path) -> list[tuple[str, object]]:
    """Keys of tokens with their values: at the top of a file, and of the language model in it."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return []
    inner = tree.get("text_config") if isinstance(tree, dict) else None
    levels = [level for level in (tree, inner) if isinstance(level, dict)]
    return [(key, value) for level in levels for key, value in level.items() if _ID_KEY.fullmatch(key)]


def _matches(name: str, added: Mapping[str, int]) -> list[str]:
    if name in added:
        return [name]
    if "*" not in name or not name.strip("*"):
        return []
    pattern = re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
    return [token for token in added if pattern.fullmatch(token)]


def _unknown(name: str, added: Mapping[str, int], where: str) -> str:
    if not name.strip("*"):
        return f"{name!r} names no token; write out its name, or part of it, as in <loc_*>"
    near = get_close_matches(name, added, n=_SHOWN, cutoff=0.5)
    hint = f"; near it are {', '.join(map(one_line, near))}" if near else ""
    shown = one_line(name) if name.strip() else repr(name)
    return f"{shown} is none of the {len(added):,} added tokens of {where}{hint}"


def _named(ids: Iterable[Sequence[int]], names: Mapping[int, str]) -> list[str]:
    return [names[number] for of_text in ids for number in of_text if number in names]
