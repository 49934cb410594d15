"""The image files that rows name: in the folder of the JSONL file or below it.

A name is a path relative to that folder. One that does not exist as it is written is looked for as other systems write
it, and used where only one file can be meant: with `\\` between folders, percent-encoded, in other case (`A.PNG`), with
accents in another Unicode form.
"""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from wdstream.errors import RowError
from wdstream.raw.reading import is_below
from wdstream.raw.remote.access import is_raw_file, is_raw_folder, open_raw, raw_names, store_of
from wdstream.text.image_names import is_link, looks_like_image

_MAX_NAME, _MAX_COMPONENT = 1024, 255
_MOST_COMPARED = 10_000
"""Names of a folder, at most, among which a similar one is looked for."""
_HEAD_BYTES = 64
_FILE_LINK = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)


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
        if is_raw_folder(folder / name):
            raise RowError(f"{shown} is a folder; expected the name of an image file")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RowError(f"{shown} cannot be found: {reason or type(error).__name__}") from error
    raise RowError(
        f"{shown} does not exist (relative to the folder of the JSONL file){_near(folder, name)}",
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


def _inside(folder: Path, name: str, shown: str, *, allow_outside: bool) -> Path:
    """The path of a name; RowError where it leaves the folder."""
    path = folder / name
    if allow_outside:
        return path
    if ".." not in name and is_below(str(path), str(folder)):
        return path  # as nearly all are
    if ".." in PurePosixPath(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise RowError(
            f"{shown} leaves the folder of the JSONL file; allow it with --allow-outside-images, or move the image"
        )
    return path


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
        names = [other for other in _names(folder / found) if _folded(other) == _folded(part)]
        if len(names) > 1:
            raise RowError(f"{shown} may be {names[0]!r} or {names[1]!r}; write it as the file is called")
        if not names:
            return None
        found /= names[0]
    return str(found) if is_raw_file(folder / found) else None


def _near(folder: Path, name: str) -> str:
    """The most similar name of the folder that was meant, for the message."""
    path = PurePosixPath(name.replace("\\", "/"))
    where = folder / path.parent
    if path.is_absolute() or ".." in path.parts or not is_raw_folder(where):
        where = folder
    names = {_folded(other): other for other in _names(where)[:_MOST_COMPARED]}
    similar = difflib.get_close_matches(_folded(path.name), names, 1)
    return f"; the nearest name there is {names[similar[0]]!r}" if similar else ""


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return _listed(folder, store_of(folder) or folder.stat().st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=4)
def _listed(folder: Path, _as_of: object) -> tuple[str, ...]:
    """Names in a folder, sorted; read once until the folder changes, or for each store, whose folders share paths."""
    return raw_names(folder)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
