"""The ways from encoded pages to a batch that tools/bench_stream.py compares, on the same pages, tiles and packs.

    stream      the real loader on one thread: plan, read, decode, tile, label, encode, lay out, collate
    processor   (a) Pillow decode, crop and resize, the model's own Hugging Face processor on tiles and text, one join
    reference   (b) that much work once for the lengths and once more at collate, as a pipeline does that learns lengths
                by running the processor
    bare        (c) the bare limit, bare_limit.py: decode, resize, one copy into patch order; and the tokenizer's own
                call on the texts, without which no batch has its ids

Paths (a) to (c) get their pages in memory and their text ready with its placeholders; only `stream` reads and plans.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bare_limit import bare_tiles, copy_tile
from stream_pillow import pillow_tiles
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_samples
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor
from wdstream.families.shared.resized import ResizedImages
from wdstream.nodes.decode import decode_page
from wdstream.nodes.tile import TileRenderer, tile_page
from wdstream.pipeline.planned import Plan
from wdstream.pixels.cache_usage import cache_info
from wdstream.pixels.settings import PixelSettings, TileCacheSettings
from wdstream.pixels.tile_cache import open_cache
from wdstream.records import PackPlan, Page, TilePlan
from wdstream.tiling.labels import label_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One page for the paths that do not read: files, tile plan of each, and the processor's text arguments."""

    images: tuple[bytes, ...]
    plans: tuple[TilePlan, ...]
    texts: dict[str, list[str]]


def make_jobs(plan: Plan, pack: PackPlan) -> list[Job]:
    """The pages of a pack."""
    jobs, rules = [], plan.family.processor_rules()
    for number in pack.samples:
        page = read_page(plan, number)
        tiled = tile_page(decode_page(page), policy=plan.tiling)
        texts = rules.texts_of(label_page(tiled), plan.family.image_prompt)
        jobs.append(Job(images=page.images, plans=tiled.plans, texts=texts))
    return jobs


class Paths:
    """The paths under one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.family: Family = plan.family
        self.resample: str = getattr(plan.tiling, "resample", "bicubic")
        self.processor = load_processor(plan.family)

    def processor_pack(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Path (a): one pack."""
        outputs = [self.processor_page(job) for job in jobs]
        return {
            "input_ids": torch.cat([output["input_ids"][0] for output in outputs]),
            "pixel_values": torch.cat([output["pixel_values"] for output in outputs if "pixel_values" in output]),
        }

    def reference_pack(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Path (b): one pack."""
        lengths = [len(self.processor_page(job)["input_ids"][0]) for job in jobs]
        pack = self.processor_pack(jobs)
        assert len(pack["input_ids"]) == sum(lengths)
        return pack

    def processor_page(self, job: Job) -> Any:
        """Decode, cut and process one page with Pillow and the processor."""
        tiles: list[Image.Image] = []
        for data, plan in zip(job.images, job.plans, strict=True):
            tiles += pillow_tiles(data, plan, self.resample)
        if not tiles:
            return self.processor.tokenizer(**job.texts, return_tensors="pt")
        return self.processor(**job.texts, images=self.family.processor_rules().images_of(tiles), return_tensors="pt")

    def bare_ids(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Ids of the texts, by nothing but the tokenizer's call."""
        tokenizer = self.processor.tokenizer.backend_tokenizer
        return [encoding.ids for job in jobs for encoding in tokenizer.encode_batch_fast(job.texts["text"])]

    def bare_pack(self, jobs: Sequence[Job], *, is_plain_copy: bool = False) -> np.ndarray:
        """Path (c): one pack; with `is_plain_copy` tiles are copied as they are, an order that no model could use."""
        sizes = [self.family.resized(*size) for job in jobs for plan in job.plans for size in plan.sizes]
        out = np.empty(sum(width * height * 3 for width, height in sizes), np.uint8)
        images = self.family.images
        merge, patch = (
            (images.size_multiple // images.patch_size, images.patch_size)
            if isinstance(images, ResizedImages)
            else (0, 0)
        )
        start = 0
        for job in jobs:
            for data, plan in zip(job.images, job.plans, strict=True):
                outputs = [self.family.resized(*size) for size in plan.sizes]
                for tile in bare_tiles(data, plan, outputs, self.resample):
                    part = out[start : start + tile.size]
                    copy_tile(tile, part, patch_size=patch, merge_size=merge, is_plain_copy=is_plain_copy)
                    start += tile.size
        return out


def stream_seconds(plan: Plan, num_packs: int) -> list[float]:
    """CPU seconds of the whole process for each of the first packs from the loader, one pack per batch."""
    seconds = []
    with plan.loader(workers=0, prefetch=0) as loader:
        for _ in range(num_packs):
            start = time.process_time()
            next(loader)
            seconds.append(time.process_time() - start)
    return seconds


def cache_seconds(plan: Plan, packs: Sequence[PackPlan], folder: Path, rounds: int) -> dict[str, float]:
    """Median CPU seconds from encoded pages to tiles, cut or from a warm cache; of laying them out; its bytes."""
    cache = open_cache(
        PixelSettings(tile_cache=TileCacheSettings(path=folder, max_bytes=1 << 40)),
        tiling=plan.tiling.pixel_fingerprint,
        max_pixels=plan.settings.max_pixels,
    )
    pages = [[read_page(plan, number) for number in pack.samples] for pack in packs]
    cutters = {"cut": TileRenderer(tiling=plan.tiling), "warm": TileRenderer(tiling=plan.tiling, cache=cache)}
    times: dict[str, list[float]] = {"cut": [], "warm": [], "layout": []}
    for number in range(rounds + 1):
        totals = dict.fromkeys(times, 0.0)
        for pack in pages:
            for name, cutter in cutters.items():
                start = time.process_time()
                tiled = [cutter.render(page) for page in pack]
                totals[name] += time.process_time() - start
            start = time.process_time()
            plan.family.layout([tile for page in tiled for tiles in page.tiles for tile in tiles])
            totals["layout"] += time.process_time() - start
        for name, total in totals.items() if number else ():  # the first round fills the cache
            times[name].append(total)
    return {name: statistics.median(values) for name, values in times.items()} | {"bytes": cache_info(folder).num_bytes}


def read_page(plan: Plan, sample: int) -> Page:
    """A page by its number in the plan."""
    dataset, row = plan.locate(sample)
    return plan.shards[dataset].read_page(row)


def part_seconds(plan: Plan, packs: Sequence[PackPlan]) -> dict[str, float]:
    """CPU seconds of each station for these packs, called one by one as the loader calls them."""
    family = plan.family
    totals: dict[str, float] = {}

    def timed(part: str, run: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = run()
        totals[part] = totals.get(part, 0.0) + time.process_time() - start
        return result

    for pack in packs:
        tiled = []
        for number in pack.samples:
            page = timed("read, verify", lambda: read_page(plan, number))  # noqa: B023  # called at once
            decoded = timed("decode", lambda: decode_page(page))  # noqa: B023
            tiled.append(timed("cut, resize", lambda: tile_page(decoded, policy=plan.tiling)))  # noqa: B023
        samples = timed("label, tokenise", lambda: build_samples([label_page(page) for page in tiled], family))  # noqa: B023
        encoded = timed("positions", lambda: encode_pack(samples, family))  # noqa: B023
        layout = timed("patch layout", lambda: family.layout([tile for sample in samples for tile in sample.tiles]))  # noqa: B023
        del layout
        timed("collate", lambda: collate([encoded], family))  # noqa: B023
    totals["positions"] = max(0.0, totals["positions"] - totals["patch layout"])  # encode_pack lays out too
    return totals
