"""Where a checkpoint keeps its chat template."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_chat_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The template's source: chat_template.jinja, chat_template.json, or from tokenizer_config.json; None without one.

    Of several templates by name it is the one called default.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    file = folder / "chat_template.json"
    source: Any = json.loads(file.read_text(encoding="utf-8")).get("chat_template") if file.is_file() else None
    source = source or tokenizer_config.get("chat_template")
    if isinstance(source, list):
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    return source if isinstance(source, str) else None
