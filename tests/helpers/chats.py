"""Chat rows: built by wdstream, and by the template and the processor of the checkpoint."""

from typing import Any

import numpy as np
from PIL import Image

from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.records import LabelledPage, Page, Pixels, Sample
from wdstream.text.messages import segments_from_messages

IMAGE = {"type": "image"}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def turn(role: str, *content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content), **more}


CHATS = {
    "one": [turn("user", IMAGE, text("Read this page.")), turn("assistant", text("A page, 12 lines."))],
    "several": [
        turn("system", text("You read documents.")),
        turn("user", IMAGE, text("And this?"), IMAGE),
        turn("assistant", text("Two pages.")),
        turn("user", text("Sure? See again:"), IMAGE),
        turn("assistant", text("Yes, 漢字 too.")),
    ],
    "text": [turn("user", text("Say hello.")), turn("assistant", text("Hello."))],
}


def num_images(messages: list[dict[str, Any]]) -> int:
    return sum(part == IMAGE for message in messages for part in message["content"])


def chat_page(messages: list[dict[str, Any]], images: int | None = None) -> Page:
    count = num_images(messages) if images is None else images
    segments = segments_from_messages(messages, num_images=count)
    return Page(key="chat", images=(b"",) * count, segments=segments)


def tile(number: int) -> Pixels:
    return np.full((60 + number, 90, 3), 200, dtype=np.uint8)


def build(messages: list[dict[str, Any]], family: Family) -> Sample:
    """A chat row whose images are one tile each."""
    page = render_chat(chat_page(messages), family)
    tiles = tuple(tile(number) for number in range(num_images(messages)))
    return build_sample(LabelledPage(key=page.key, tiles=tiles, segments=page.segments), family)


def reference_ids(messages: list[dict[str, Any]], family: Family, processor: Any) -> list[int]:
    """The template rendered by transformers, then the processor on the whole string."""
    rendered = processor.tokenizer.apply_chat_template(messages, tokenize=False)
    images = [Image.fromarray(tile(number)) for number in range(num_images(messages))]
    if not images:
        return list(processor.tokenizer(rendered, add_special_tokens=False)["input_ids"])
    rules = family.processor_rules()
    missing = max(0, rules.least_images - len(images))
    out = processor(
        text=[rendered + family.image_prompt * missing],
        images=rules.images_of([*images, *images[:1] * missing]),
        add_special_tokens=False,
        **rules.untiled_settings,
    )
    added = sum(len(family.image_ids(90, 60)) for _ in range(missing))
    ids = [int(number) for number in out["input_ids"][0]]
    return ids[: len(ids) - added]


def with_eos(ids: list[int], family: Family) -> list[int]:
    """As a row ends: blanks that the template writes after its last special token are left out, EOS is there once."""
    special = set(family.chat.special_tokens.values())
    end = max(place for place, number in enumerate(ids) if number in special) + 1
    if family.encoder.decode(ids[end:]).strip():  # a template that does not end the last turn
        return [*ids, family.eos_id]
    return ids[:end] if ids[end - 1] == family.eos_id else [*ids[:end], family.eos_id]


def supervised_text(sample: Sample, family: Family) -> str:
    return family.encoder.decode(sample.labels[sample.labels != -100].tolist())
