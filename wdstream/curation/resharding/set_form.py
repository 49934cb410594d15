"""What the samples of shards have: their members, and the fields of their json; and README.md, which tells `datasets`.

`datasets` takes columns and the fields of json from the first five samples, and drops without a word what later ones
have on top. With the columns declared in a README.md next to the tars, `load_dataset(FOLDER)` reads all of it; what a
sample lacks is null.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wdstream.curation.resharding.value_types import (
    NULL,
    ValueType,
    declared,
    merge,
    settled,
    tree_of,
    type_from_tree,
    type_of,
)
from wdstream.errors import load_json
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.parts import names_image, sort_parts
from wdstream.storage.atomic import write_file

CARD = "README.md"
_TEXTS, _NUMBERS = ("txt", "text", "transcript"), ("cls", "cls2", "index", "inx", "id")
_JSON = ("json", "jsn")
_DECODED = frozenset({"ten", "tb", "mp", "msg", "npy", "npz", "cbor", "pt", "pth", "gz", "zip", "xz", "zst"})
"""What `datasets` makes something else of than bytes."""
_EXAMPLE = """from datasets import load_dataset

pages = load_dataset("THIS_FOLDER", split="train")
"""


@dataclass(slots=True)
class SetForm:
    """What samples have.

    Attributes:
        members: extension to how many samples have it.
        images: those of them that are images.
        json: the type of what is in `json`.
    """

    members: dict[str, int] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    json: ValueType = NULL

    def add(self, members: Mapping[str, bytes]) -> None:
        """Take in a sample."""
        for name in members:
            self.members[name] = self.members.get(name, 0) + 1
        self.images.update(sort_parts(members).images)
        if JSON_EXTENSION in members:
            self.json = merge(self.json, type_of(load_json(members[JSON_EXTENSION])))

    def merge(self, other: "SetForm") -> None:
        """Take in what other samples have."""
        for name, count in other.members.items():
            self.members[name] = self.members.get(name, 0) + count
        self.images |= other.images
        self.json = merge(self.json, other.json)

    def as_tree(self) -> dict[str, Any]:
        """As JSON, to be kept in a file."""
        return {"members": self.members, "images": sorted(self.images), "json": tree_of(self.json)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "SetForm":
        """The inverse of `as_tree`."""
        return cls(members=dict(tree["members"]), images=set(tree["images"]), json=type_from_tree(tree["json"]))

    def columns(self) -> Iterator[dict[str, Any]]:
        """The columns as `datasets` has them in README.md: images, text, json, then the rest by name."""
        for name in sorted(self.members, key=lambda name: (name not in self.images, name == JSON_EXTENSION, name)):
            last = name.rpartition(".")[2]
            if name in self.images and names_image(name):
                yield {"name": name, "dtype": "image"}
            elif name == JSON_EXTENSION:
                yield {"name": name, **declared(settled(self.json))}
            elif last in _JSON:
                yield {"name": name, "dtype": "json"}
            elif last in _TEXTS or last in _NUMBERS:
                yield {"name": name, "dtype": "string" if last in _TEXTS else "int64"}
            elif last not in _DECODED:
                yield {"name": name, "dtype": "binary"}


def write_card(folder: Path, form: SetForm, *, num_pages: int, num_bytes: int) -> list[str]:
    """Write README.md; returns what is to be known of it."""
    columns = list(form.columns())
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}],
        "dataset_info": {
            "config_name": "default",
            "features": columns,
            "splits": [{"name": "train", "num_bytes": num_bytes, "num_examples": num_pages}],
        },
    }
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    write_file(folder / CARD, f"---\n{text}---\n\n{_body(form, num_pages)}".encode())
    missing = sorted(form.members.keys() - {column["name"] for column in columns})
    return [f"datasets reads no {', '.join(missing)}, which {CARD} does not list"] if missing else []


def _body(form: SetForm, num_pages: int) -> str:
    lines = "".join(f"* `{name}`: {count:,} samples\n" for name, count in sorted(form.members.items()))
    text = f"{num_pages:,} pages in tar shards, written by `wdstream reshard --uniform`.\n\n{lines}\n"
    if TEXT_EXTENSION in form.members:
        text += "A page is an image, its text in `txt` and its metadata in `json`. "
    text += "A row or chat has `content` or `messages` in `json`; its images are numbered. What a sample lacks is null."
    return f"{text}\n\n```python\n{_EXAMPLE}```\n"
