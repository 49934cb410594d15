"""Shards of many samples that take no room: their tars are holes."""

from pathlib import Path

import numpy as np

from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, ShardMeta, save_idx

SAMPLES = 10_000  # a shard


SAMPLE_BYTES = 290_304


def write_hollow_shard(tar: Path, number: int) -> None:
    """A shard whose tar is one hole of the right size, described as if it held samples."""
    place = np.arange(SAMPLES, dtype="<i8")
    columns = {name: np.ones(SAMPLES, dtype) for name, dtype in SAMPLE_COLUMNS.items()}
    columns |= {name: np.full(SAMPLES, 1654, dtype) for name, dtype in IMAGE_COLUMNS.items()}
    columns |= {"offset": place * SAMPLE_BYTES, "nbytes": np.full(SAMPLES, SAMPLE_BYTES, "<i8")}
    columns |= {"key_hash": (place + number * SAMPLES).astype("<u8") * np.uint64(0x9E3779B97F4A7C15)}
    key = b"doc-%05d/page-" % number
    keys = np.frombuffer(b"".join(key + b"%06d" % sample for sample in range(SAMPLES)), "u1")
    tar_bytes = SAMPLES * SAMPLE_BYTES + 10_240
    with tar.open("wb") as file:
        file.truncate(tar_bytes)
    start = np.arange(SAMPLES + 1, dtype="<i8") * (len(keys) // SAMPLES)
    save_idx(tar.with_name(tar.stem + ".tar.idx"), [*columns["offset"].tolist(), SAMPLES * SAMPLE_BYTES])
    ShardMeta(tar_bytes=tar_bytes, columns=columns, key_start=start, key_bytes=keys).save(
        tar.with_name(tar.stem + ".meta.npz")
    )
