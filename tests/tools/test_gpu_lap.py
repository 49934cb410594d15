"""tools/gpu_lap.py: a dry run on a CPU; how a section fails alone, and how spans of a trace are counted."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import gpu_lap
from lap.place import Place, Skipped
from lap.runs import HALF_B, THREE_B, covered, measure_half_b, measure_qlora, shares_of

BROKEN = gpu_lap.Section(module="lap.none", function="measure_nothing", seconds=600)


def test_a_section_fails_alone_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu_lap.SECTIONS, "broken", BROKEN)
    found = gpu_lap.start_section("broken", tmp_path, 600, is_dry=True)  # whose process does not know it
    assert "invalid choice: 'broken'" in found["failed"]
    assert gpu_lap.start_section("attention", tmp_path, 0, is_dry=True) == {"skipped": "no time was left for it"}
    (tmp_path / "again").mkdir()
    assert gpu_lap.start_section("half_b", tmp_path / "again", 0.01, is_dry=True) == {"failed": "not within 0 s"}


def test_sections_share_the_time_of_the_lap() -> None:
    names = list(gpu_lap.SECTIONS)
    assert sum(section.seconds for section in gpu_lap.SECTIONS.values()) <= gpu_lap.LIMIT_S
    assert gpu_lap.share_of(100, ["half_b", "qlora"]) == 75
    assert gpu_lap.share_of(7, ["qlora"]) == 7
    left = float(gpu_lap.LIMIT_S)
    for number in range(len(names)):  # each takes all that it may: the last one still has its own
        left -= gpu_lap.share_of(left, names[number:])
        assert left >= sum(gpu_lap.SECTIONS[later].seconds for later in names[number + 1 :])


def test_past_its_limit_a_section_ends_with_all_that_it_started() -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):  # the child of the shell holds its pipes until it ends
        gpu_lap.run_within(0.2, ["sh", "-c", "sleep 60 & wait"], os.environ)
    assert time.monotonic() - began < 30


def test_without_a_gpu_a_section_says_so(tmp_path: Path) -> None:
    for measure in (measure_half_b, measure_qlora):
        with pytest.raises(Skipped, match="torch finds no GPU here"):
            measure(Place(root=tmp_path, is_dry=False))
    with pytest.raises(Skipped, match="needs a GPU"):
        print(Place(root=tmp_path, is_dry=True).gpu)
    assert list(tmp_path.iterdir()) == []


def test_idle_time_is_what_neither_kernels_nor_copies_cover() -> None:
    events = [{"cat": "kernel", "ts": ts, "dur": dur} for ts, dur in ((0, 10), (5, 10), (30, 10))]
    events += [{"cat": "gpu_memcpy", "ts": 10, "dur": 10}, {"cat": "cpu_op", "ts": 0, "dur": 99}]
    assert covered([(0, 10), (5, 15), (30, 40)]) == 25
    assert shares_of(events) == {"idle_share": 0.25, "copy_share": 0.25, "copied_meanwhile": 0.125}
    assert shares_of(events[-1:])["skipped"] == "no kernel ran on a GPU"


def test_models_have_the_widths_of_published_ones() -> None:
    for recipe, width, size in ((HALF_B, 896, 64), (THREE_B, 2048, 128)):
        text = recipe.config["text_config"]
        assert text["hidden_size"] == width == size * text["num_attention_heads"]
        assert sum(text["rope_parameters"]["mrope_section"]) == size // 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_dry_run(tmp_path: Path) -> None:
    out = tmp_path / "lap.json"
    assert gpu_lap.main(["--dry-run", "--limit-s", "1700", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    sections = report["sections"]
    assert list(sections) == list(gpu_lap.SECTIONS) and report["machine"]["torch"]
    assert sections["attention"]["qwen2_5_vl sdpa"]["leak"] == 0
    assert sections["attention"]["qwen2_5_vl sdpa"]["gradient_distance"] < 0.05
    assert "flash" in sections["attention"]["qwen2_5_vl flash_attention_2"]["failed"].lower()
    assert sections["normalisation"]["float32 4x1"]["gradient_distance"] < 1e-5
    for name in ("half_b", "three_b"):
        assert sections[name]["tokens_per_s"] > 0 and sections[name]["tflops"] > 0
    assert sections["overlap"]["events"] > 1000 and sections["fsdp"]["skipped"] == "needs a GPU"
    assert sections["memory"]["false"]["estimated_gib"] > sections["memory"]["true"]["estimated_gib"] > 0
    assert sections["memory"]["true"]["taken_gib"] is None
    assert sections["kernels"]["skipped"] == "needs a GPU"
    assert len(sections["qlora"]["losses"]) == 3
    compiled = sections["compiled"]
    assert compiled["compiled"]["losses"] == pytest.approx(compiled["plain"]["losses"], rel=1e-5)
