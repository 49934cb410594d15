"""Settings of texts; apart from what uses them, since a model family loads without pydantic."""

from typing import ClassVar

from wdstream.settings import Settings


class TextSettings(Settings):
    """`text:` what the text of pages may be besides plain text."""

    section: ClassVar[str] = "text"

    allow_tokens: tuple[str, ...] = ()
    """An added token of the tokenizer that text may form, such as `<otsl>`; `*` stands for any characters: `<loc_*>`.
    Lengths depend on it: plans need a token column that was counted with the same tokens."""
