"""What is said of a row that has no form, or several: what was found, and the map that would read it."""

from collections.abc import Mapping, Sequence

from wdstream.errors import RowError
from wdstream.text.image_names import holds_image, is_image_name
from wdstream.text.maps.field_paths import escaped
from wdstream.text.row_turns import are_texts


def no_form(fields: Mapping[str, object], texts: Sequence[str]) -> RowError:
    """For a row without a text, or with several `texts`."""
    found = ", ".join(texts or sorted(map(str, fields))) or "no fields"
    named = f"; call the field that holds the text 'text', or say with a map which it is ({_likely_map(fields)})"
    more = "; more than one is a text" if texts else named if fields else ""
    return RowError(
        f"expected text (with images), content, messages or conversations, one of them; found {found:.200}{more}",
        option=": say with --metadata-field which is metadata" if texts else "",
    )


def _likely_map(fields: Mapping[str, object]) -> str:
    """The map of a row without a known name: of its turns, or of its longest text."""
    firsts = {field: value[0] for field, value in fields.items() if isinstance(value, list | tuple) and value}
    for field, first in firsts.items():
        if isinstance(first, Mapping) and first.keys() & {"role", "from"}:
            return f"turns={escaped(field)}"
    texts = {field: len(str(value)) for field, value in fields.items() if _may_be_text(value)}
    longest = max(texts, key=texts.__getitem__, default="FIELD")
    return f"text={longest if not texts else escaped(longest)}"


def _may_be_text(value: object) -> bool:
    return are_texts(value) or (
        isinstance(value, str) and bool(value.strip()) and not is_image_name(value) and not holds_image(value)
    )
