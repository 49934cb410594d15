"""The image files that rows name: in the folder of the JSONL file or below it.

A name is a path relative to that folder. One that does not exist as it is written is looked for as other systems write
it, and used where only one file can be meant: with `\\` between folders, percent-encoded, in other case (`A.PNG`), with
accents in another Unicode form, without a suffix (`page_ids` of MP-DocVQA, `image_id` of TextVQA).
"""

import difflib
import re
import shlex
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from os.path import normpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from wdstream.errors import RowError
from wdstream.raw.listed.packed import TextHashes
from wdstream.raw.reading import is_below, is_folder_below, limits, read_plain
from wdstream.raw.remote.access import is_raw_file, is_raw_folder, open_raw, raw_names, store_of
from wdstream.text.characters import short_name
from wdstream.text.image_names import IMAGE_SUFFIXES, NAME_WORD, is_image_name, is_link, looks_like_image
from wdstream.text.maps.field_paths import escaped

_MAX_NAME, _MAX_COMPONENT = 1024, 255
_MOST_COMPARED, _MOST_SEEN = 500, 10_000
"""Names of a folder, at most, among which a similar one, which takes 20 us each, or an archive is looked for."""
_HEAD_BYTES = 64
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_MOST_FOLDERS = 16
_USUAL_SUFFIXES = ("jpg", "png", "jpeg", "tif", "webp", "tiff", "JPG", "PNG")
_CLASS_WORD = re.compile(
    "(?:split|subset|config|dataset|lang|language|locale|script|country|category|class|label|tag|type|kind|format|status|version|"
    "license|licence|domain|topic|subject|task|level|difficulty|quality|year|month|model|style|color|colour)(?:e?s)?"
    "|categories|countries|qualities"
)
"""The last word of a field that is of many rows, whatever file has such a name: `train.png` is not the image of one."""
_PLAIN_NAME = re.compile(r"(?:[^/:.\0][^/:\0]*/)*[^/:.\0][^/:\0]*")
"""No link, and the only way to write it."""
_FILE_LINK = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)


def read_plain_image(folder: Path, name: str) -> bytes | None:
    """The bytes of a row's image where its name is a plain one of a plain file, as nearly all are: in the folder of the
    JSONL file or below it. None where `find_image` has to look closer."""
    if _PLAIN_NAME.fullmatch(name) is None:
        return None
    path = f"{folder}/{name}"
    is_inside = is_folder_below(path[: path.rfind("/")], str(folder))
    return read_plain(path, limit=limits().max_file_bytes) if is_inside else None


def resolve_image(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file of a row's image.

    Args:
        folder: the folder of the JSONL file, which names are relative to.
        name: as the row has it.
        allow_outside: whether it may be outside the folder, or be reached by a link that leads outside.

    Raises:
        RowError: a URL, a path that leaves the folder, or no file, or several that may be meant.
    """
    shown = f"image {name[:80]!r}"
    name = _path_of_file_link(name)
    if is_link(name) or name.startswith("data:"):
        raise RowError(f"{shown} is a URL; fetch it first and give its path")
    if "\0" in name or not name.strip():
        raise RowError(f"{shown} is not a file name")
    try:
        for written in _spellings(name):
            path = _inside(folder, written, shown, allow_outside=allow_outside)
            if is_raw_file(path):
                return path
        for written in _spellings(name):
            found = _in_other_case(folder, written, shown)
            if found is not None:
                return _inside(folder, found, shown, allow_outside=allow_outside)
        for written in _spellings(name):
            found = _with_suffix(folder, written, shown)
            if found is not None:
                return _inside(folder, found, shown, allow_outside=allow_outside)
        if is_raw_folder(folder / name):
            raise RowError(f"{shown} is a folder; expected the name of an image file")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RowError(f"{shown} cannot be found: {reason or type(error).__name__}") from error
    if _is_absolute(name):
        raise _not_here(folder, name, shown)
    hint = _below(folder, name) or _near(folder, name) or _packed(folder)
    raise RowError(
        f"{shown} does not exist (relative to the folder of the JSONL file){hint}",
        option="; images in another folder of RAW: --image-folder",
    )


def _path_of_file_link(name: str) -> str:
    """The path of `file:///a/b.png`, as Qwen's rows name images; any other name as it is."""
    found = _FILE_LINK.match(name.strip())
    return name if found is None else unquote(name.strip()[found.end() :])


def image_folders(path: Path, file: str, names: Sequence[str]) -> tuple[Path, ...]:
    """Where images of rows are looked for, in order: next to the file of rows, then in these folders of RAW.

    Args:
        path: of the file.
        file: the same relative to RAW.
        names: of folders, relative to RAW.
    """
    return (path.parent, *(path.parents[file.count("/")] / name for name in names))


def find_image(folders: Sequence[Path], name: str, *, allow_outside: bool = False) -> Path:
    """The file of a row's image in the first of these folders that has it; see `resolve_image`.

    Raises:
        RowError: none has it; says what is the matter in the first.
    """
    for folder in folders[1:]:
        try:
            return resolve_image(folders[0], name, allow_outside=allow_outside)
        except RowError:
            with suppress(RowError):
                return resolve_image(folder, name, allow_outside=allow_outside)
    return resolve_image(folders[0], name, allow_outside=allow_outside)


def is_image_file(folder: Path, name: str) -> bool:
    """Whether a text is the name of an image file in the folder of a JSONL file or below it, by its first bytes.

    A text of several lines, or longer than a path, is not looked up.
    """
    name = name.strip()
    if not 0 < len(name) <= _MAX_NAME or "\n" in name or "\0" in name:
        return False
    try:
        if len(name) > _MAX_COMPONENT and "/" not in name and store_of(folder) is None:  # no file system has such names
            return False
        if not is_raw_file(f"{folder}/{name}"):  # asked of every text; a Path takes five times as long
            return False
        with open_raw(_inside(folder, name, name, allow_outside=False)) as file:
            return looks_like_image(file.read(_HEAD_BYTES))
    except (RowError, OSError, RuntimeError, ValueError):
        return False


class ImagesNear:
    """Images next to rows by their names without a suffix, as `image_id` or `doc` of many collections has them.

    Args:
        folders: of `image_folders`; those directly below the first are looked into, too, when a row is first asked for.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._stems: TextHashes | None = None

    def refuse_named(self, fields: Mapping[str, object], metadata_fields: Collection[str]) -> None:
        """Check the metadata of a row without an image.

        Raises:
            RowError: a text of them, or one in a list, is the name of an image file but for the suffix.
        """
        if self._stems is None:
            self._stems = _stems_near((*self._folders,), tuple(map(_state_of, self._folders)))
        if not self._stems:
            return
        for field, value in fields.items():
            if field in metadata_fields or _is_class(field):
                continue
            values = value if isinstance(value, list | tuple) else [value]
            name = next(filter(self._is_named, values), None)
            if name is not None:
                raise RowError(
                    f"field {field!r} has {short_name(str(name))!r}, the name of an image file near the rows but for "
                    "the suffix, and the row has no image",
                    option=f": say that it is its image with --map {shlex.quote(f'image={escaped(field)}')} (and where "
                    f"it is, with --image-folder), or metadata with --metadata-field {shlex.quote(field)}",
                )

    def _is_named(self, value: object) -> bool:
        is_name = isinstance(value, str) and 0 < len(value) <= _MAX_COMPONENT
        return is_name and str(value).rpartition("/")[2] in (self._stems or ())


def _is_class(field: str) -> bool:
    words = NAME_WORD.findall(field)
    return bool(words) and _CLASS_WORD.fullmatch(words[-1].lower()) is not None


def _state_of(folder: Path) -> object:
    """What changes with the names in a folder."""
    try:
        return store_of(folder) or folder.stat().st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=2)  # every shard of a file of rows asks, and there may be a million images
def _stems_near(folders: tuple[Path, ...], _as_of: object) -> TextHashes:
    below = (folders[0] / name for name in raw_names(folders[0]) if "." not in name)
    return _stems_in((*folders, *islice(filter(is_raw_folder, below), _MOST_FOLDERS)))


def _stems_in(folders: Sequence[Path]) -> TextHashes:
    stems = TextHashes()
    for folder in folders:
        for name in raw_names(folder):
            stem, _, suffix = name.rpartition(".")
            if suffix.lower() in IMAGE_SUFFIXES and stem:
                stems.add(stem)
    return stems


def _inside(folder: Path, name: str, shown: str, *, allow_outside: bool) -> Path:
    """The path of a name; RowError where it leaves the folder."""
    path = folder / name
    if allow_outside:
        return path
    if ".." not in name and is_below(str(path), str(folder)):
        return path  # as nearly all are
    goes_up = ".." in PurePosixPath(name).parts
    if goes_up and not _is_absolute(name):  # `sub/../a.png` is in the folder, unless `sub` is a link
        plain = normpath(name)
        is_one = store_of(folder) is not None or (folder / plain).resolve() == path.resolve()
        if not plain.startswith("..") and is_one:
            return _inside(folder, plain, shown, allow_outside=False)
    if not goes_up and path.resolve().is_relative_to(folder.resolve()):
        return path
    if _is_absolute(name) or goes_up:
        if _is_absolute(name) and not is_raw_file(path):
            raise _not_here(folder, name, shown)
        option = "--allow-outside-images"
    elif limits().allow_outside_links:
        return path
    else:
        option = "--allow-outside-images, or --allow-outside-links for all links"
    raise RowError(f"{shown} leaves the folder of the JSONL file; allow it with {option}, or move the image")


def _is_absolute(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()


def _not_here(folder: Path, name: str, shown: str) -> RowError:
    """For a path of another machine, with the end of it that is in the folder."""
    parts = PureWindowsPath(name).parts[1:]
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    end = next((end for end in ends if ".." not in end and is_raw_file(folder / end)), None)
    there = "" if end is None else f" ({short_name(end)!r} is there)"
    return RowError(
        f"{shown} is not on this machine; name images relative to the folder of the JSONL file{there}",
        option=", or to an --image-folder",
    )


def _spellings(name: str) -> list[str]:
    """The name as it is written, and as it may be meant."""
    as_path = name.replace("\\", "/")
    return list(dict.fromkeys((name, as_path, unquote(as_path))))


def _in_other_case(folder: Path, name: str, shown: str) -> str | None:
    """The one file whose name differs in case or Unicode form alone; None for none.

    Raises:
        RowError: there are several.
    """
    found = PurePosixPath()
    for part in PurePosixPath(name).parts:
        if part in ("/", ".."):
            return None
        if is_raw_file(folder / found / part) or is_raw_folder(folder / found / part):
            found /= part
            continue
        names = _names_by_fold(folder / found).get(_folded(part), ())
        if len(names) > 1:
            raise RowError(f"{shown} may be {names[0]!r} or {names[1]!r}; write it as the file is called")
        if not names:
            return None
        found /= names[0]
    return str(found) if is_raw_file(folder / found) else None


def _with_suffix(folder: Path, name: str, shown: str) -> str | None:
    """The one image file whose name is this one and a suffix; None for none.

    Raises:
        RowError: there are several.
    """
    if is_image_name(name) or ".." in PurePosixPath(name).parts:
        return None
    found = [f"{name}.{suffix}" for suffix in _USUAL_SUFFIXES if is_raw_file(folder / f"{name}.{suffix}")]
    if len(found) > 1 and not _are_one(folder, found):
        raise RowError(f"{shown} may be {found[0]!r} or {found[1]!r}; write it as the file is called")
    return found[0] if found else None


def _are_one(folder: Path, names: Sequence[str]) -> bool:
    """Whether names are of one file: a disk that takes no notice of case has `a.jpg` as `a.JPG`, too."""
    return store_of(folder) is None and all((folder / names[0]).samefile(folder / name) for name in names[1:])


def _below(folder: Path, name: str) -> str:
    """The file of that name in one of the folders directly below, for the message: rows and images come apart."""
    if is_link(name) or _is_absolute(name) or ".." in name:
        return ""
    folders = islice((below for below in _names(folder) if "." not in below), _MOST_FOLDERS)
    found = next((f"{below}/{name}" for below in folders if is_raw_file(folder / below / name)), None)
    return "" if found is None else f"; {short_name(found)} is there"


def _near(folder: Path, name: str) -> str:
    """The most similar name of the folder that was meant, for the message."""
    path = PurePosixPath(name.replace("\\", "/"))
    where = folder / path.parent
    if path.is_absolute() or ".." in path.parts or not is_raw_folder(where):
        where = folder
    others = _names(where)
    first = max(0, min(bisect_left(others, path.name) - _MOST_COMPARED // 2, len(others) - _MOST_COMPARED))
    names = {_folded(other): other for other in others[first : first + _MOST_COMPARED]}
    similar = difflib.get_close_matches(_folded(path.name), names, 1)
    return f"; the nearest name there is {names[similar[0]]!r}" if similar else ""


def _packed(folder: Path) -> str:
    """An archive that the image may be in, for the message: collections come as rows and `images.zip`."""
    packed = next((name for name in _names(folder)[:_MOST_SEEN] if name.lower().endswith(_ARCHIVES)), None)
    return "" if packed is None else f"; {short_name(packed)} is there: images of rows are files, so unpack it"


def _names(folder: Path) -> tuple[str, ...]:
    state = _state_of(folder)
    return () if state is None else _listed(folder, state)


@lru_cache(maxsize=8)  # collections of several sets have as many folders
def _listed(folder: Path, _as_of: object) -> tuple[str, ...]:
    """Names in a folder, sorted; read once until the folder changes, or for each store, whose folders share paths."""
    return raw_names(folder)


def _names_by_fold(folder: Path) -> Mapping[str, Sequence[str]]:
    state = _state_of(folder)
    return {} if state is None else _listed_by_fold(folder, state)


@lru_cache(maxsize=8)  # each row may name its image so
def _listed_by_fold(folder: Path, as_of: object) -> Mapping[str, Sequence[str]]:
    """Names in a folder by what they are but for case and Unicode form."""
    found: dict[str, tuple[str, ...]] = {}
    for name in _listed(folder, as_of):
        folded = _folded(name)
        found[folded] = (*found.get(folded, ()), name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
