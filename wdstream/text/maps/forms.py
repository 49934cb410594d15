"""The names by which rows of many collections are read where nobody says which field is what (row_forms.py)."""

from collections.abc import Sequence
from functools import lru_cache

TEXT, CONTENT_FIELD, MESSAGES_FIELD, CONVERSATIONS = "text", "content", "messages", "conversations"
TEXTS = "texts"
TEXT_FIELDS = (TEXT, CONTENT_FIELD, MESSAGES_FIELD, CONVERSATIONS)
CAPTION_FIELDS = ("caption", "transcription", "transcript", "markdown", "latex", "ocr_text", "natural_text")
"""Fields that are the text of an image; without an image they are metadata."""
QUESTION_FORMS = (
    ("query", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("question", "answers"),
    ("questions", "answers"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("query", "label"),
)
"""What the user says and what the assistant says, by field."""
IMAGE_FIELDS = (
    *("images", "image", "image_path", "image_paths", "image_file", "image_files", "img", "imgs", "img_path"),
    *("picture", "pictures", "photo", "photos", "image_url", "image_urls", "img_url"),
)
"""Fields that hold the images of a row, whatever is in them."""
FILE_NAME_FIELDS = (
    "file_name",
    "filename",
    "image_name",
    "image_file_name",
    "image_filename",
    "imgname",
    "image_local_name",
)
"""Fields that name the image of a row where they end like an image."""
ALL_IMAGE_FIELDS = frozenset((*IMAGE_FIELDS, *FILE_NAME_FIELDS))
_ROLE_OF = {TEXT: "text", CONTENT_FIELD: "content", MESSAGES_FIELD: "turns", CONVERSATIONS: "turns", TEXTS: "turns"}
_ROLE_OF |= dict.fromkeys(CAPTION_FIELDS, "text")
_LAYOUTS = {MESSAGES_FIELD: "openai", CONVERSATIONS: "llava", "query": "swift", "instruction": "alpaca"}
_LAYOUTS |= {"question": "docvqa", "questions": "docvqa"} | dict.fromkeys(CAPTION_FIELDS, "captions")
"""Names of layouts, by the first field of a form."""


def how_read(form: Sequence[str], image_fields: Sequence[str]) -> str:
    """Which fields of a row without a map were read as what, after the name of the layout where it has one."""
    return _how_read((*form,), (*image_fields,))


@lru_cache
def _how_read(form: tuple[str, ...], image_fields: tuple[str, ...]) -> str:
    roles = dict(zip(("question", "answer"), form, strict=True)) if len(form) > 1 else {_ROLE_OF[form[0]]: form[0]}
    shown = [f"image={'+'.join(image_fields)}"] if image_fields else []
    shown += [f"{role}={name}" for role, name in roles.items()]
    return f"{_layout(form, image_fields)}: {', '.join(shown)}".removeprefix(": ")


def _layout(form: Sequence[str], image_fields: Sequence[str]) -> str:
    if form[0] == CONVERSATIONS and "image" not in image_fields:
        return "sharegpt"
    if form[0] == TEXT and set(image_fields) & set(FILE_NAME_FIELDS):
        return "imagefolder"
    return _LAYOUTS.get(form[0], "") if form[0] != "query" or form[1] == "response" else ""


@lru_cache  # the rows of a file have few sets of fields
def named_forms(fields: tuple[str, ...]) -> tuple[Sequence[str], Sequence[tuple[str, ...]], Sequence[tuple[str, ...]]]:
    """Of the names of a row's fields: those of `TEXT_FIELDS`, the forms of questions, and captions."""
    own = [field for field in TEXT_FIELDS if field in fields]
    questions = [form for form in QUESTION_FORMS if all(field in fields for field in form)]
    return own, questions, [(field,) for field in CAPTION_FIELDS if field in fields]
