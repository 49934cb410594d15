"""`wdstream cache`: look at a tile cache, and make it smaller; app.py registers it."""

from pathlib import Path
from typing import Annotated

import typer

from wdstream.commands.inspect import console

app = typer.Typer(no_args_is_help=True, help="Look at a tile cache (data.tile_cache), or make it smaller.")

CachePath = Annotated[Path, typer.Argument(metavar="PATH", help="Its folder, data.tile_cache.path.")]


@app.command("info")
def info_command(path: CachePath) -> None:
    """Images and bytes of each policy: a tiling, a way of decoding, versions of the libraries that compute pixels."""
    from wdstream.pixels.cache_usage import cache_info

    cache_info(path).print(console)


@app.command("prune")
def prune_command(
    path: CachePath,
    max_bytes: Annotated[
        int | None, typer.Option(min=0, help="Keep so many bytes, of the policies used last; 0 removes all.")
    ] = None,
) -> None:
    """Remove the entries of all policies but the one used last, or of as many as --max-bytes asks.

    Safe while runs use the cache: what they miss, they cut anew.
    """
    from wdstream.pixels.cache_usage import prune_cache

    prune_cache(path, max_bytes=max_bytes).print(console)
