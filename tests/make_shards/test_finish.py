"""Images next to rows that no row names are listed."""

import json
from pathlib import Path

from PIL import Image

from wdstream.make_shards import MakeShardsOptions, make_shards


def test_images_that_no_row_names_are_listed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    for name in ("used.png", "Case.png", "left.png", "deep/left.jpg", "linked.png", "unread.png"):
        Image.new("RGB", (8, 8)).save(raw / name)
    (raw / "link.png").symlink_to(raw / "linked.png")
    rows: list[dict[str, object]] = [{"image": name, "text": "t"} for name in ("used.png", "case.png", "link.png")]
    rows.append({"images": ["unread.png"], "text": "<image> <image>"})
    (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = MakeShardsOptions(workers=1)
    for _ in range(2):  # made, and found complete
        report = make_shards(raw, tmp_path / "out", options=options)
        lines = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
        unnamed = [line["file"] for line in lines if line["reason"].startswith("no row that could be read names this")]
        assert unnamed == ["deep/left.jpg", "left.png", "unread.png"]
        assert (report.left_to_rows, report.num_pages, report.num_quarantined) == (3, 3, 4)
        assert report.reasons()["no row that could be read names this image"] == 3
