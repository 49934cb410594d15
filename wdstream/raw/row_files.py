"""The image files that rows name: in the folder of the JSONL file or below it."""

from pathlib import Path, PurePosixPath

from wdstream.errors import RowError
from wdstream.text.image_names import looks_like_image

_MAX_NAME = 1024


def resolve_image(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file of a row's image.

    Args:
        folder: the folder of the JSONL file, which names are relative to.
        name: as the row has it.
        allow_outside: whether it may be outside the folder, or be reached by a link that leads outside.

    Raises:
        RowError: a URL, a path that leaves the folder, or no file.
    """
    if "://" in name or name.startswith("data:"):
        raise RowError(f"image {name[:80]!r} is a URL; fetch it first and give its path")
    if "\0" in name or not name:
        raise RowError(f"image {name[:80]!r} is not a file name")
    path = folder / name
    is_outside = PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts
    try:
        is_outside = is_outside or not path.resolve().is_relative_to(folder.resolve())
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long
        raise RowError(f"image {name[:80]!r} cannot be found: {type(error).__name__}") from error
    if is_outside and not allow_outside:
        raise RowError(f"image {name[:80]!r} leaves the folder of the JSONL file; allow it, or move the image")
    if not is_file:
        raise RowError(f"image {name[:80]!r} does not exist (relative to the folder of the JSONL file)")
    return path


def is_image_file(folder: Path, name: str) -> bool:
    """Whether a text is the name of an image file in the folder of a JSONL file or below it, by its first bytes.

    A text of several lines, or longer than a path, is not looked up.
    """
    name = name.strip()
    if not 0 < len(name) <= _MAX_NAME or "\n" in name or "\0" in name:
        return False
    try:
        if not (folder / name).is_file():
            return False
        with resolve_image(folder, name).open("rb") as file:
            return looks_like_image(file.read(64))
    except (RowError, OSError, RuntimeError, ValueError):
        return False
