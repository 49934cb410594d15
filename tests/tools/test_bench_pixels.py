"""tools/bench_pixels.py: its paths lay out the same bytes, it takes any folder, a missed figure is exit status 1."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench_pixels
from tests.helpers.paths import DATA


@pytest.mark.parametrize("policy", ["adaptive (default)", "ocr_pages, tiles of 812x812"])
def test_paths_lay_out_the_same_patches(policy: str) -> None:
    """A colour JPEG: (c) gives the very bytes of wdstream; a plain copy the same bytes in another order."""
    job = bench_pixels.make_job(
        (DATA / "pages/scans/leptonlib-cat.007.jpg").read_bytes(), bench_pixels.POLICIES[policy]
    )

    def patches(run: Callable[[Any], Any]) -> np.ndarray:
        job.out[:] = 0
        run(job)
        return job.out.copy()

    ours = patches(bench_pixels.run_wdstream)
    assert np.array_equal(patches(bench_pixels.run_bare), ours)
    plain = patches(lambda job: bench_pixels.run_bare(job, is_plain_copy=True))
    assert not np.array_equal(plain, ours)
    assert np.array_equal(np.bincount(plain.ravel()), np.bincount(ours.ravel()))


def test_any_folder_will_do() -> None:
    """The hostile files: 12 images and some pages of PDFs can be read; the other files are left out."""
    pages = bench_pixels.load_pages(DATA / "bad", limit=1000, dpi=10)
    images = [page for page in pages if not page.startswith(b"\xff\xd8")]
    assert 8 <= len(images) <= 14
    assert bench_pixels.load_pages(DATA / "bad/rows", limit=1000, dpi=10) == [
        (DATA / "bad/rows/images/pillow-transparent.png").read_bytes()
    ]
    assert len(bench_pixels.load_pages(DATA / "bad", limit=3, dpi=10)) == 3
    assert bench_pixels.load_pages(Path(__file__).parent, limit=3, dpi=10) == []


@pytest.mark.parametrize(
    ("seconds", "scaling", "missed"),
    [
        ({"hugging face": 4.0, "bare": 0.8, "bare, plain copy": 0.8}, (1.7, 2.0), []),
        ({"hugging face": 3.9, "bare": 0.8, "bare, plain copy": 0.8}, (1.7, 2.0), ["x: (a)"]),
        ({"hugging face": 4.0, "bare": 0.7, "bare, plain copy": 0.8}, (1.7, 2.0), ["x: (c)"]),
        ({"hugging face": 4.0, "bare": 0.8, "bare, plain copy": 0.7}, (1.7, 2.0), ["x: (c)"]),
        ({"hugging face": 4.0, "bare": 0.8, "bare, plain copy": 0.8}, (1.6, 2.0), ["x: threads"]),
        ({"hugging face": 4.0, "bare": 0.8, "bare, plain copy": 0.8}, (1.3, 1.5), []),  # no two cores to spare
        ({"hugging face": 4.0, "bare": 0.8, "bare, plain copy": 0.8}, (1.2, 1.5), ["x: threads"]),
    ],
)
def test_what_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float],
    scaling: tuple[float, float],
    missed: list[str],
) -> None:
    assert bench_pixels.missed("x", {"wdstream": 1.0, **seconds}, scaling) == missed
