r"""Field maps: which field, part or path of a row is its image, its text, its turns; the same for all that reads rows.

    image=jp2,text=json:caption                     on a command line (--map), or as one text
    {image: [left, right], text: "pages[*].text"}   in YAML, or as a mapping

    image                       images: names, bytes, base64, data URIs, objects, lists of these; of several, in order
    text                        the text of the images; several texts, or those of a list, are lines of it
    content, turns              parts, or turns, as rows have them (row_forms.py); a text is read as JSON
    question, answer            one turn of the user, one of the assistant
    input, history              more of the question; pairs of a question and an answer before it
    system, tools               the text of the system; definitions of tools
    arrange                     `interleaved` or `matched`: texts and images are lists (layouts.py)
    metadata                    metadata, whatever it looks like, under the last name of its path
    rest                        what becomes of all other fields: `keep` them as metadata (which is the rule), or `drop`

Paths are those of field_paths.py. `a+b` is both, in order; `a|b` is the first that is there; `a?` may be missing. What
a map says nothing about is found as without a map: the images, or the text. A field that the map names and the row has
not, or as null, is an error of that row. Values that are left and could be an image refuse the row, as always.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, get_args

from wdstream.errors import ConfigError, RowError
from wdstream.text.maps.field_paths import (
    FieldPath,
    Step,
    Way,
    near_paths,
    opened,
    shown_way,
    split_unescaped,
    unescaped,
    value_at,
    without,
)
from wdstream.text.maps.layouts import LAYOUTS, Arrangement, about_images, arranged
from wdstream.text.row_images import plain_list

Word = TypeVar("Word", bound=str)
Role = Literal[
    "image", "text", "content", "turns", "question", "input", "answer", "history", "system", "tools", "metadata"
]
ROLES_OF_FIELDS: tuple[Role, ...] = get_args(Role)
TEXT_ROLES: tuple[Role, ...] = ("text", "content", "turns", "question")
"""Of which a row has one."""
_BESIDES_TEXT: tuple[Role, ...] = ("image", "system", "tools", "metadata")
Rest = Literal["keep", "drop"]
_REST: tuple[Rest, ...] = get_args(Rest)
_OWN_NAMES: Mapping[Role, str] = {"image": "images", "turns": "messages"}
"""What rows call a role, where that is another name."""
_ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)
_MAX_DEPTH = 16
_BYTES = ("bytes", "data", "base64", "b64_json")
MapText = str | Sequence[str] | Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One value of a role: the first of some paths that a row has."""

    paths: tuple[FieldPath, ...]
    is_optional: bool = False

    def __str__(self) -> str:
        return "|".join(path.text for path in self.paths) + "?" * self.is_optional


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A row by a map.

    Attributes:
        fields: what the map names, under the names that rows use.
        rest: all else, and metadata that the map names.
        metadata: names in `rest` that the map calls metadata.
        how: what was found as what, such as "image=image, turns=conversations".
    """

    fields: Mapping[str, object]
    rest: Mapping[str, object]
    metadata: frozenset[str] = frozenset()
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMap:
    """Which field is what.

    Attributes:
        roles: what is wanted for each role.
        rest: what becomes of other fields.
        arrange: how lists of texts and images become one order.
        preset: the layout that this is the map of, if it is one by name.
    """

    roles: Mapping[Role, tuple[Wanted, ...]]
    rest: Rest = "keep"
    arrange: Arrangement | None = None
    preset: str = field(default="", compare=False)

    def __str__(self) -> str:
        items = [f"{role}={'+'.join(map(str, wanted))}" for role, wanted in self.roles.items()]
        items += [f"arrange={self.arrange}"] if self.arrange else []
        return ",".join([*items, *(["rest=drop"] if self.rest == "drop" else [])])

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def parse(cls, given: "MapText | FieldMap", preset: str = "", *, is_part: bool = False) -> "FieldMap":
        """A map from what somebody wrote.

        Args:
            given: a text, several, or a mapping from roles to paths or lists of them.
            preset: its name.
            is_part: whether a preset says more, so that it need not be whole.

        Raises:
            ConfigError: it is no map; says what is wrong with it.
        """
        if isinstance(given, FieldMap):
            return given
        items: dict[str, list[str]] = {}
        for name, path in _items(given):
            items.setdefault(name, []).extend(split_unescaped(path, "+"))
        rest = _one_of(_REST, "rest", items.pop("rest", ["keep"])[-1])
        arranges = [_one_of(_ARRANGEMENTS, "arrange", name) for name in items.pop("arrange", [])]
        roles = {_role(name): tuple(_wanted(text, name) for text in texts) for name, texts in items.items()}
        field_map = cls(roles=roles, rest=rest, arrange=arranges[-1] if arranges else None, preset=preset)
        return field_map if is_part else field_map.checked()

    @classmethod
    def of_layout(cls, name: str) -> "FieldMap":
        """The map of a layout by its name.

        Raises:
            ConfigError: there is no such layout; names those there are.
        """
        if name not in LAYOUTS:
            near = difflib.get_close_matches(name, LAYOUTS, 1)
            more = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"preset {name!r:.60}: expected one of {', '.join(LAYOUTS)}{more}")
        return cls.parse(LAYOUTS[name], preset=name)

    @classmethod
    def chosen(cls, given: "MapText | FieldMap | None", preset: str | None) -> "FieldMap | None":
        """The map of some settings: a layout's, with what `given` says in place of it; None where nothing is said.

        Raises:
            ConfigError: as `parse` and `of_layout`.
        """
        own = cls.parse(given, is_part=preset is not None) if given else None
        if preset is None:
            return own
        layout = cls.of_layout(preset)
        if own is None:
            return layout
        roles = layout.roles if not own.has_text else {r: w for r, w in layout.roles.items() if r in _BESIDES_TEXT}
        both = replace(own, roles={**roles, **own.roles}, arrange=own.arrange or layout.arrange, preset=preset)
        return both.checked()

    def checked(self) -> "FieldMap":
        """This map, if its roles belong together.

        Raises:
            ConfigError: they do not.
        """
        _check(self.roles, self.arrange)
        return self

    @property
    def has_text(self) -> bool:
        """Whether the map says where the text is."""
        return any(role in self.roles for role in TEXT_ROLES)

    @property
    def fields(self) -> frozenset[str]:
        """Fields or parts in which the map may find what it names."""
        paths = [path for wanted in self.roles.values() for one in wanted for path in one.paths]
        return frozenset(name for path in paths for name in (str(path.steps[0]), unescaped(path.text)))

    @property
    def has_images(self) -> bool:
        """Whether the map says where images are."""
        return "image" in self.roles

    def take(self, row: Mapping[str, object], inside: str = "") -> Taken:
        """The parts of a row.

        Args:
            row: its fields, or the parts of a sample by extension.
            inside: the part in which its fields may be, too: `json`.

        Raises:
            RowError: it lacks one that the map names; says which ones are near.
        """
        fields: dict[str, object] = {}
        named: list[tuple[Way, object]] = []
        used: list[Way] = []
        how: list[str] = []
        for role, wanted in self.roles.items():
            found = [(steps, value) for one in wanted for steps, value in self._found(one, role, row, inside)]
            used += [steps for steps, _value in found]
            how += [f"{role}={'+'.join(shown_way(steps) for steps, _value in found)}"] if found else []
            if role == "metadata":
                named += found
            elif found:
                joined = _listed if self.arrange else _joined
                fields[_OWN_NAMES.get(role, role)] = joined(role, [value for _steps, value in found])
        metadata: dict[str, object] = {}
        if self.arrange:
            images = fields.pop("images", None)
            fields["content"] = arranged(self.arrange, fields.pop("text", None), images)
            metadata |= about_images(_name_of(self, "image"), images) if self.arrange == "matched" else {}
        rest = _rest(row, used, inside)
        metadata |= _by_name(named, rest)
        return Taken(fields=fields, rest=rest | metadata, metadata=frozenset(metadata), how=", ".join(how))

    def _found(
        self, wanted: Wanted, role: Role, row: Mapping[str, object], inside: str
    ) -> Iterator[tuple[Way, object]]:
        """The steps and the value of one, if the row has it."""
        for path in wanted.paths:
            for steps in path.places(row, inside):
                value = value_at(row, steps)
                if value is not None and not (role == "image" and not self.arrange and _is_nothing(value)):
                    yield steps, value
                    return
        if not wanted.is_optional:
            raise RowError(_missing(wanted, role, row, inside))

    def lacking(self, rows: Sequence[Mapping[str, object]], inside: str = "") -> list[str]:
        """What the map names and none of some rows has, each with the near paths of the first row."""
        return [
            _missing(one, role, rows[0] if rows else {}, inside)
            for role, wanted in self.roles.items()
            for one in wanted
            if not one.is_optional and not any(_has(one, row, inside) for row in rows)
        ]


def _name_of(field_map: FieldMap, role: Role) -> str:
    return str(field_map.roles[role][0].paths[0].steps[0])


def _items(given: MapText) -> Iterator[tuple[str, str]]:
    """(role, paths) of a map as it was written."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            paths = value if isinstance(value, list | tuple) else [value]
            if not all(isinstance(path, str) for path in paths):
                raise ConfigError(f"map: {name}: expected a path or a list of paths, found {value!r:.80}")
            yield from ((str(name), str(path)) for path in paths)
        return
    for text in [given] if isinstance(given, str) else given:
        for item in split_unescaped(text, ","):
            name, equals, path = item.partition("=")
            if not equals or not path.strip():
                raise ConfigError(f"map: {item.strip()!r}: expected ROLE=PATH, such as text=json:caption,image=jp2")
            yield name.strip(), path.strip()


def _role(name: str) -> Role:
    role = next((role for role in ROLES_OF_FIELDS if role == name or f"{role}s" == name), None)
    if role is None:
        raise ConfigError(f"map: {name}: expected one of {', '.join(ROLES_OF_FIELDS)}, or rest")
    return role


def _one_of(known: Sequence[Word], role: str, word: str) -> Word:
    found = next((one for one in known if one == word), None)
    if found is None:
        raise ConfigError(f"map: {role}={word}: expected {' or '.join(known)}")
    return found


def _wanted(text: str, role: str) -> Wanted:
    *before, last = split_unescaped(text, "?")
    is_optional = bool(before) and not last
    text = text[:-1] if is_optional else text
    paths = tuple(FieldPath.parse(path.strip()) for path in split_unescaped(text, "|"))
    if role == "image":  # the object around the bytes, which knows their name
        paths = tuple(map(_around_bytes, paths))
    return Wanted(paths=paths, is_optional=is_optional)


def _around_bytes(path: FieldPath) -> FieldPath:
    least = 2 if path.has_field else 1
    if len(path.steps) <= least or path.steps[-1] not in _BYTES:
        return path
    return FieldPath(text=path.text, steps=path.steps[:-1], has_field=path.has_field)


def _check(roles: Mapping[Role, object], arrange: Arrangement | None) -> None:
    texts = [role for role in TEXT_ROLES if role in roles]
    if not roles:
        raise ConfigError("map: it names nothing; expected ROLE=PATH, such as text=caption,image=jp2")
    if len(texts) > 1:
        raise ConfigError(f"map: it names {' and '.join(texts)}; a row has one of them")
    lists = {"text", "image"}
    if arrange and not lists <= roles.keys():
        raise ConfigError(f"map: arrange={arrange}: it arranges the lists text and image; name both")
    if ("question" in roles) != ("answer" in roles):
        raise ConfigError("map: question and answer go together; for one text alone, name it text")


def _is_nothing(value: object) -> bool:
    """Whether a list holds no image, however deep."""
    value = plain_list(value)
    return value is None or (isinstance(value, list | tuple) and all(map(_is_nothing, value)))


def _has(wanted: Wanted, row: Mapping[str, object], inside: str) -> bool:
    try:
        return any(value_at(row, steps) is not None for path in wanted.paths for steps in path.places(row, inside))
    except RowError:  # it is there, and wrong: an error of the row
        return True


def _missing(wanted: Wanted, role: Role, row: Mapping[str, object], inside: str) -> str:
    shown = {**row, **_fields_inside(row, inside)}
    near = near_paths(shown, unescaped(wanted.paths[0].text))
    more = f"near it: {', '.join(near)}; " if near else ""
    has = ", ".join(map(str, shown))
    return f"no {wanted} here, which is the {role} by the map ({role}={wanted}); {more}there are: {has:.300}"


def _fields_inside(row: Mapping[str, object], inside: str) -> Mapping[str, object]:
    value = row.get(inside)
    return value if isinstance(value, Mapping) else {}


def _listed(_role: Role, values: list[object]) -> object:
    """The lists of a role, as they are, as one."""
    values = [plain_list(value) for value in values]
    return [inner for value in values for inner in (value if isinstance(value, list | tuple) else [value])]


def _joined(role: Role, values: list[object]) -> object:
    """The values of a role as one."""
    if role == "image":
        return values
    if role in ("turns", "content") and len(values) == 1:
        return opened(values[0], role)
    if role != "text":
        return values[0] if len(values) == 1 else values
    return values[0] if len(values) == 1 and not isinstance(values[0], list) else _lines(values)


def _lines(values: list[object]) -> object:
    """Texts, and lists of them, as the lines of one; what is none is left for whoever reads the text."""
    flat = [text for text in _flat(values, 0) if text is not None]
    try:
        texts = [text.decode("utf-8") if isinstance(text, bytes) else text for text in flat]
    except UnicodeDecodeError as error:
        raise RowError(f"a text that the map names is not UTF-8 (byte {error.start})") from error
    return "\n".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else values


def _flat(value: object, depth: int) -> Iterator[object]:
    """What is in lists, and lists in them, in order."""
    if not isinstance(value, list) or depth > _MAX_DEPTH:
        yield value
        return
    for inner in value:
        yield from _flat(inner, depth + 1)


def _by_name(named: Sequence[tuple[Way, object]], rest: Mapping[str, object]) -> dict[str, object]:
    """Metadata under the last names of their paths; under the whole path where that name is another's."""
    found: dict[str, object] = {}
    for steps, value in named:
        name = str(_last_name(steps))
        found[shown_way(steps) if name in found or name in rest else name] = value
    return found


def _last_name(steps: Way) -> Step:
    return next((step for step in reversed(steps) if isinstance(step, str)), steps[0])


def _rest(row: Mapping[str, object], used: Sequence[Way], inside: str) -> dict[str, object]:
    """What a row has besides, its own fields and those of `inside` on one level."""
    left = {name: without(value, [steps[1:] for steps in used if steps[0] == name]) for name, value in row.items()}
    rest = {name: value for name, value in left.items() if value is not None and name != inside}
    return {**rest, **_fields_inside(left, inside)}
