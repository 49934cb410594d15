"""docs/add-a-family.md, followed to the letter: its files are a package with an entry point, its commands are run."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from wdstream.errors import FamilyError
from wdstream.families.registry import load_family

DOCUMENT = (ROOT / "docs" / "add-a-family.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)


def write_files(folder: Path) -> None:
    """The code blocks that begin with a comment of a file's name."""
    for _, text in BLOCKS:
        if match := re.match(r"# (\S+\.(?:toml|py|yaml))\n", text):
            (folder / match[1]).write_text(text, encoding="utf-8")


def install(folder: Path, *, points: str | None = None) -> None:
    """What `pip install -e` leaves: metadata with the entry points of pyproject.toml, or with these lines."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head, encoding="utf-8")
    group = project["entry-points"]["wdstream.families"]
    lines = points or "".join(f"{name} = {reference}\n" for name, reference in group.items())
    (metadata / "entry_points.txt").write_text(f"[wdstream.families]\n{lines}", encoding="utf-8")


def test_the_page_is_right(tmp_path: Path) -> None:
    write_files(tmp_path)
    (commands,) = (text.splitlines() for language, text in BLOCKS if language == "sh")
    assert commands[0] == "pip install -e ."
    install(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    said = []
    for command in commands[1:]:
        program, *arguments = shlex.split(command)
        start = {"python": [sys.executable], "wdstream": [sys.executable, "-m", "wdstream"]}[program]
        done = subprocess.run(
            [*start, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout + done.stderr)
    doctor = said[1]
    assert "fit for wdstream" in doctor and "NOT fit" not in doctor
    assert "Glm46VProcessor" in doctor
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(metrics) == 2


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's package on the path of this process, not yet installed."""
    write_files(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_name_that_two_claim_is_refused(package: Path, tiny_models: dict[str, Path]) -> None:
    install(package, points="qwen2_5_vl = glm_ocr_family:GlmOcr\n")
    with pytest.raises(
        FamilyError,
        match=r"family 'qwen2_5_vl' is offered by glm-ocr-family \(glm_ocr_family:GlmOcr\) and by wdstream; "
        "uninstall all but one",
    ):
        load_family(tiny_models["qwen2_5_vl"])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("mine = pathlib:Path", r"family 'mine' at pathlib:Path: expected a subclass of wdstream.families.base.Family"),
        ("mine = pathlib:Nothing", r"family 'mine' at pathlib:Nothing cannot be imported: .*Nothing"),
        ("mine = no_such_module:Path", r"family 'mine' at no_such_module:Path cannot be imported: No module"),
        ("other = pathlib:Path", r"unknown model family 'mine'; known: aya_vision, .*, other, .*add-a-family"),
        ("mine = half_a_family:Half", r"family mine is not whole: Half.__init__ sets no image_id and no images and no"),
    ],
)
def test_what_is_no_family_is_refused(package: Path, tiny_models: dict[str, Path], points: str, message: str) -> None:
    (package / "half_a_family.py").write_text(
        "from wdstream.families.base import Family\n\n\nclass Half(Family):\n    structural_tokens = ()\n"
    )
    install(package, points=f"{points}\n")
    with pytest.raises(FamilyError, match=message):
        load_family(tiny_models["qwen2_5_vl"], name="mine")


def test_wrong_arguments_say_what_was_expected(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(FamilyError, match="load_family: expected the path of a model folder, found int 3"):
        load_family(3)  # type: ignore[arg-type]
    with pytest.raises(FamilyError, match="load_family: name: expected a family's name or None, found PosixPath"):
        load_family(tiny_models["gemma3"], name=Path("gemma3"))  # type: ignore[arg-type]


def test_a_family_says_what_it_is(tiny_models: dict[str, Path]) -> None:
    path = tiny_models["internvl"]
    said = repr(load_family(path))
    assert said.startswith(f"<InternVL family 'internvl' of {path}: ")
    assert "sides in multiples of 448 px" in said
    assert repr(load_family(path).for_whole_images()).endswith("split as its processor does>")
