"""DATA of a tool: a folder of indexed shards, or of raw pages, of which shards are made in a temporary folder."""

import argparse
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.reader import Shards
from wdstream.testing import make_tiny_model

SHIPPED = Path(__file__).parents[1] / "tests" / "data" / "pages"


def data_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that takes DATA, the shipped pages when it is left out, and --model."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--model", type=Path)
    return parser


def open_data(data: Path, model: Path | None, scratch: Path) -> tuple[Path, Path]:
    """(shards, model folder) of DATA; what is lacking is made below `scratch`.

    Without a model, a tiny one takes its place: Qwen2.5-VL's image rules and a real tokenizer.

    Raises:
        ConfigError: there is no such folder.
    """
    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder; give indexed shards or raw pages")
    model = model or make_tiny_model(scratch / "model")
    if (data / INDEX_FOLDER).is_dir() or any(data.glob("*.tar")):
        return data, model
    make_shards(data, scratch / "shards", options=MakeShardsOptions(tokenizer=model, keep_empty=True))
    return scratch / "shards", model


def only_token_column(shards: Shards) -> str:
    """The fingerprint of the one token column that shards have.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = sorted(path.name.split(".")[1] for path in (Path(shards.path) / INDEX_FOLDER).glob("tokens.*.npy"))
    if len(found) != 1:
        raise ConfigError(
            f"{shards.path}: expected one token column, found {len(found)} ({', '.join(found) or 'none'}); name the "
            "checkpoint by --model, and run `wdstream lengths` where its column is missing"
        )
    return found[0]
