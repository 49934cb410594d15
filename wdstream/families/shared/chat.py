"""Chat rows to token ids: turns are written out by the model's own template, images stay in their places.

    TurnSegment, TextSegment, ImageSegment ...  ──render_chat──►  TokenSegment, ImageSegment, TokenSegment ...

* Tokens of the template's own text may be special ones; texts of messages never form any. Plain text of the template
  and the text next to it are tokenised together, as the model will meet them: `Assistant: ` + `Yes` gives ` Yes`.
* Loss is on the tokens of supervised turns, and on what the template writes after them up to its first special
  token: the model has to end its turn. Calls of tools are supervised with their turn, up to its last special token.
* What the template writes after that token at the very end is left out, and the row ends with EOS, once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from wdstream.errors import RowError
from wdstream.families.base import Family
from wdstream.records import ImageSegment, Page, Segment, TextSegment, TokenSegment, TurnSegment
from wdstream.text.chat_template import TextPlace, TurnText, plain_text
from wdstream.text.messages import is_chat, makes_calls, messages_from_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """Plain text of a row, and whether it is supervised."""

    text: str
    is_supervised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Special:
    """A special token of the template."""

    number: int
    is_supervised: bool


_Atom = _Text | _Special | ImageSegment


def render_chat(page: Page, family: Family) -> Page:
    """A chat row with its turns written out as ids; any other page is returned as it is.

    Raises:
        RowError: the template refuses the row, or places other images than it has.
        FamilyError: the model has no chat template.
    """
    if not is_chat(page.segments):
        return page
    try:
        atoms = list(_atoms(page.segments, family))
    except RowError as error:
        raise RowError(f"chat row {page.key!r}: {error}") from error
    return replace(page, segments=tuple(_segments(_ended(atoms, family), family)))


def _atoms(segments: Sequence[Segment], family: Family) -> Iterator[_Atom]:
    """Special tokens, plain texts and images of a row, in the order in which the template writes them."""
    texts = list(_texts(segments))
    turns = [segment for segment in segments if isinstance(segment, TurnSegment)]
    pieces = family.chat.render(messages_from_segments(segments))
    images = iter([segment for segment in segments if isinstance(segment, ImageSegment)])
    is_open = False  # whether a supervised turn still has to be ended
    for piece in pieces:
        if isinstance(piece, TextPlace):
            yield _content(texts[piece.number], piece)
            is_open = texts[piece.number].is_supervised
            continue
        if isinstance(piece, TurnText):
            flag, is_open = turns[piece.turn].is_supervised, False
            atoms = list(_trusted(piece.text, family, images))
            yield from (atom if isinstance(atom, ImageSegment) else replace(atom, is_supervised=flag) for atom in atoms)
            continue
        atoms = list(_trusted(piece, family, images))
        ends = [place for place, atom in enumerate(atoms) if isinstance(atom, _Special)]
        last_supervised = ends[0] if is_open and ends else -1
        for place, atom in enumerate(atoms):
            is_supervised = place <= last_supervised
            yield atom if isinstance(atom, ImageSegment) else replace(atom, is_supervised=is_supervised)
        is_open = is_open and not ends
    if (left := sum(1 for _ in images)) > 0:
        raise RowError(f"the chat template places {left} fewer images than the row has; see which parts it knows")


def _texts(segments: Sequence[Segment]) -> Iterator[_Text]:
    """The texts of the messages as the template numbers them: a plain content is one, even if empty."""
    for place, segment in enumerate(segments):
        if isinstance(segment, TextSegment):
            yield _Text(text=segment.text, is_supervised=segment.is_supervised)
        elif isinstance(segment, TurnSegment) and segment.is_plain:
            following = segments[place + 1] if place + 1 < len(segments) else None
            if not isinstance(following, TextSegment) and not makes_calls(segment):
                yield _Text(text="", is_supervised=segment.is_supervised)


def _content(text: _Text, place: TextPlace) -> _Text:
    """A message's text as the template would write it."""
    written = text.text.lstrip() if place.trims_left else text.text
    return replace(text, text=written.rstrip() if place.trims_right else written)


def _trusted(written: str, family: Family, images: Iterator[ImageSegment]) -> Iterator[_Atom]:
    """Images, special tokens and plain text of what the template wrote."""
    parts = written.split(family.image_prompt)
    for number, part in enumerate(parts):
        if number:
            image = next(images, None)
            if image is None:
                raise RowError("the chat template places more images than the row has")
            yield image
        for text in family.chat.pattern.split(part):
            if not text:
                continue
            found = family.chat.special_tokens.get(text)
            if found is None:
                yield _Text(text=plain_text(text), is_supervised=False)
            else:
                yield _Special(number=found, is_supervised=False)


def _ended(atoms: list[_Atom], family: Family) -> list[_Atom]:
    """The row without the template's BOS or the like (documents get theirs anyway) and with EOS at its end, once."""
    opening = family.opening_ids
    first = tuple(atom.number for atom in atoms[: len(opening)] if isinstance(atom, _Special))
    atoms = atoms[len(opening) :] if first == opening else atoms
    while atoms and isinstance(atoms[-1], _Text) and not atoms[-1].is_supervised and not atoms[-1].text.strip():
        atoms = atoms[:-1]
    last = atoms[-1] if atoms else None
    if isinstance(last, _Special) and last.number == family.eos_id:
        return atoms
    is_supervised = isinstance(last, _Special | _Text) and last.is_supervised
    return [*atoms, _Special(number=family.eos_id, is_supervised=is_supervised)]


def _segments(atoms: Sequence[_Atom], family: Family) -> Iterator[Segment]:
    """Spans of ids with one flag, between images."""
    for is_image, group in groupby(atoms, key=lambda atom: isinstance(atom, ImageSegment)):
        if is_image:
            yield from (atom for atom in group if isinstance(atom, ImageSegment))
            continue
        tokens = list(_tokens([atom for atom in group if not isinstance(atom, ImageSegment)], family))
        for is_supervised, run in groupby(tokens, key=lambda token: token[1]):
            yield TokenSegment(ids=tuple(number for number, _ in run), is_supervised=is_supervised)


def _tokens(atoms: Sequence[_Text | _Special], family: Family) -> Iterator[tuple[int, bool]]:
    """(id, whether it is supervised); neighbouring texts are tokenised as one, a token with any supervised character
    counts."""
    for is_special, group in groupby(atoms, key=lambda atom: isinstance(atom, _Special)):
        run = list(group)
        if is_special:
            yield from ((atom.number, atom.is_supervised) for atom in run if isinstance(atom, _Special))
            continue
        texts = [atom for atom in run if isinstance(atom, _Text)]
        supervised = [flag for atom in texts for flag in [atom.is_supervised] * len(atom.text)]
        for number, start, end in family.encoder.encode_spans("".join(atom.text for atom in texts)):
            yield number, any(supervised[start : max(end, start + 1)])
