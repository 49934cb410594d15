"""Tiles kept on disk, ready for the family's layout: a warm epoch neither decodes nor resizes.

    <path>/v2-<policy>/<first two digits>/<content digest>-<scale>      one entry per image
    <path>/tile-cache-usage                                             bytes of all entries, see cache_usage.py

    entry    MAGIC, crc32 of what follows, bytes of the header, header (JSON: name, policy, shapes), pixels
             grey tiles are stored as one plane

Keys are content: the digest of the encoded image, the scale of an over-long page, and the policy, which stands for all
that decides a pixel (tiling, decoding, versions of the libraries that compute). Labels are text, so no part of it.
An entry appears whole by a rename. It is not synced: after a power cut a torn entry is found by its checksum. Whatever
is not exactly the entry looked for (damaged, cut short, another's under this name) is a miss, and is written again.
"""

import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError
from wdstream.pixels.cache_usage import TEMP_PREFIX, CacheSpace, locked_usage
from wdstream.pixels.grey import grey_as_rgb, is_grey
from wdstream.plan.sample_lengths import FULL_SCALE
from wdstream.records import Pixels, Size
from wdstream.storage.atomic import atomic_write

if TYPE_CHECKING:
    from wdstream.pixels.settings import DecodeMode, PixelSettings, TileCacheSettings

FORMAT = "v2"
"""Raised whenever the entries, or the rules by which pixels are decoded, change."""
MAGIC = b"wdtiles1"
_HEAD = struct.Struct("<8sII")
_DIGEST_BYTES = 20

_log = logging.getLogger("wdstream")


def cache_policy(*, tiling: str, decode: "DecodeMode", max_pixels: int) -> str:
    """16 hex digits of all that decides the tiles of an image.

    Args:
        tiling: the tiling's pixel_fingerprint.
        decode: see PixelSettings.
        max_pixels: images above this have no tiles.
    """
    import PIL
    import simplejpeg
    import torch

    versions = [PIL.__version__, simplejpeg.__version__, torch.__version__]
    text = json.dumps([FORMAT, tiling, decode, max_pixels, versions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_cache(pixels: "PixelSettings", *, tiling: str, max_pixels: int) -> "TileCache | None":
    """The cache that the settings name, or None without one; `tiling` is the tiling's pixel_fingerprint.

    Raises:
        ConfigError: its folder cannot be made.
    """
    if pixels.tile_cache is None:
        return None
    policy = cache_policy(tiling=tiling, decode=pixels.decode, max_pixels=max_pixels)
    try:
        return TileCache(pixels.tile_cache, policy)
    except OSError as error:
        raise ConfigError(f"tile_cache.path {pixels.tile_cache.path}: {error}; name a folder to write to") from error


def entry_name(data: bytes, scale: int = FULL_SCALE) -> str:
    """The name of an encoded image's entry; `scale` as in TileRenderer.cut."""
    return f"{hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()}-{scale}"


class TileCache:
    """The entries of one policy. Safe to use from many threads and processes at once; what fails is a miss.

    Args:
        settings: where, and how many bytes all entries of all policies may take.
        policy: `cache_policy`.
    """

    def __init__(self, settings: "TileCacheSettings", policy: str) -> None:
        self.policy = policy
        self._folder = settings.path / f"{FORMAT}-{policy}"
        settings.path.mkdir(parents=True, exist_ok=True)
        with locked_usage(settings.path):  # `prune` removes empty folders
            self._folder.mkdir(exist_ok=True)
            os.utime(self._folder)  # last used now
        self._space = CacheSpace(settings.path, max_bytes=settings.max_bytes, newest=self._folder.name)
        self._is_writable = True

    def get(self, name: str, sizes: Sequence[Size]) -> tuple[Pixels, ...] | None:
        """The tiles of an entry, or None when there is no good one.

        Args:
            name: `entry_name` of the image.
            sizes: (width, height) the tiles must have.
        """
        data = _read(self._path(name))
        if data is None or len(data) < _HEAD.size:
            return None
        magic, crc, header_bytes = _HEAD.unpack(data[: _HEAD.size].tobytes())
        if magic != MAGIC or zlib.crc32(data[_HEAD.size - 4 :].data) != crc:
            return None
        start = _HEAD.size + header_bytes
        header = json.loads(data[_HEAD.size : start].tobytes())  # the checksum holds, so this is what was written
        shapes = header["shapes"]
        is_asked_for = (header["name"], header["policy"]) == (name, self.policy)
        if not is_asked_for or [(shape[1], shape[0]) for shape in shapes] != list(sizes):
            return None
        tiles = []
        for shape in shapes:
            num_bytes = int(np.prod(shape))
            tile = data[start : start + num_bytes].reshape(shape)
            tiles.append(grey_as_rgb(tile) if tile.ndim == 2 else tile)
            start += num_bytes
        return tuple(tiles)

    def put(self, name: str, tiles: Sequence[Pixels]) -> None:
        """Keep tiles, unless the cache is full of entries that come first. A failure is logged once."""
        if not self._is_writable:
            return
        stored = [np.ascontiguousarray(tile[..., 0] if is_grey(tile) else tile) for tile in tiles]
        header = json.dumps(
            {"name": name, "policy": self.policy, "shapes": [tile.shape for tile in stored]}, separators=(",", ":")
        ).encode()
        size = _HEAD.size + len(header) + sum(tile.nbytes for tile in stored)
        try:
            with self._space.reserve(name, size) as is_accepted:
                if is_accepted:
                    self._write(self._path(name), header, stored)
        except OSError as error:
            self._is_writable = False
            _log.warning("tile cache %s: %s; no more tiles are kept in this process", self._folder, error)

    def _write(self, path: Path, header: bytes, tiles: Sequence[NDArray[np.uint8]]) -> None:
        length = struct.pack("<I", len(header))
        crc = zlib.crc32(header, zlib.crc32(length))
        for tile in tiles:
            crc = zlib.crc32(tile.reshape(-1).data, crc)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else writes here now: the caller holds the cache.
        with atomic_write(path, temp=path.with_name(TEMP_PREFIX + path.name), is_durable=False) as file:
            file.write(MAGIC + struct.pack("<I", crc) + length + header)
            for tile in tiles:
                file.write(tile.reshape(-1).data)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _read(path: Path) -> NDArray[np.uint8] | None:
    """A file's bytes, uint8 (n,); None when it is not there, or shrinks under the read."""
    try:
        with path.open("rb", buffering=0) as file:
            data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            return data if file.readinto(data.data) == len(data) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("tile cache: %s cannot be read: %s; its tiles are cut again", path, error)
        return None
