"""RapidOCR: PaddleOCR's models by ONNX Runtime, on the CPU.

Only the models of the installed wheel are used. They read Latin, Chinese and Japanese letters; a page of other letters
is misread with a confidence of up to 0.89. The library fetches others from the network where its settings ask for them
or a file is missing: the paths are given to it, and its way to the network is closed.
"""

import hashlib
from collections.abc import Callable
from importlib.metadata import PackagePath, files, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from wdstream.errors import ConfigError, SourceError, needs_extra
from wdstream.raw.ocr import PictureText
from wdstream.raw.ocr.order import ReadLine, reading_order
from wdstream.raw.texts.page_text import TextLine
from wdstream.records import Pixels

_TASKS = {"Det": "_det_", "Cls": "_cls_", "Rec": "_rec_"}
_UNSURE = 0.5
"""Lines of a lower confidence are mostly patterns of pictures."""
_ONE_THREAD = ("intra_op_num_threads", "inter_op_num_threads")
_UPSIDE_DOWN = "180"
_MAX_RATIO = 4
"""Of the sides of a picture: the library enlarges the shorter one to 736 pixels, which of a strip is gigabytes."""
_FULL = ("bad_alloc", "allocate memory", "Failed to allocate")


class RapidEngine:
    """RapidOCR with the models that its wheel has.

    Raises:
        ConfigError: it is not installed, or lacks its models.
    """

    max_side = 2000
    least_confidence = 0.9

    def __init__(self) -> None:
        with needs_extra("--ocr rapidocr", "rapidocr"):
            import cv2
            import onnxruntime  # noqa: F401  # which rapidocr imports only when it reads
            from rapidocr import RapidOCR
            from rapidocr.utils.download_file import DownloadFile
        DownloadFile.run = _refuse_download
        cv2.setNumThreads(1)
        models = _models()
        params: dict[str, Any] = {f"{task}.model_path": str(path.locate()) for task, path in models.items()}
        params |= {f"EngineConfig.onnxruntime.{name}": 1 for name in _ONE_THREAD}
        params |= {"Global.text_score": 0.0, "Global.log_level": "error", "Global.max_side_len": self.max_side}
        self._engine = RapidOCR(params=params)
        self._turned = _LinesTurned(self._engine.cls_and_rotate)
        self._engine.cls_and_rotate = self._turned
        self.name = f"rapidocr {version('rapidocr')}"
        self.identity = f"{self.name}, onnxruntime {version('onnxruntime')}, models {_digest(models)}"

    def read(self, pixels: Pixels) -> PictureText:
        """Read a picture; its lines are put in order by their places.

        Raises:
            SourceError: the library fails, or the picture is upside down.
        """
        self._turned.share = 0.0
        try:
            found = self._engine(np.ascontiguousarray(_widened(pixels)[..., ::-1]))  # it takes blue first
        except Exception as error:  # the library raises what its parts raise
            if any(sign in str(error) for sign in _FULL):
                raise MemoryError("rapidocr") from error
            raise SourceError(f"{self.name} cannot read the picture: {type(error).__name__}") from error
        if found.txts is None:
            return PictureText()
        if len(found.txts) > 1 and self._turned.share > 0.5:
            raise SourceError(
                f"{self._turned.share:.0%} of the {len(found.txts)} lines that were read are upside down, and so is "
                "their order; turn the picture, or put a text file next to it"
            )
        lines = [
            ReadLine(text=str(text), corners=np.asarray(corners, np.float64), confidence=float(score))
            for text, corners, score in zip(found.txts, found.boxes, found.scores, strict=True)
            if str(text).strip()
        ]
        return reading_of([line for line in lines if line.confidence >= _UNSURE], lines)


class _LinesTurned:
    """What the library finds of which way up lines are, which it keeps to itself.

    Attributes:
        share: of the lines of the last picture, those that were upside down.
    """

    def __init__(self, find: Callable[[list[Any]], tuple[list[Any], Any]]) -> None:
        self._find = find
        self.share = 0.0

    def __call__(self, lines: list[Any]) -> tuple[list[Any], Any]:
        """Find it, as the library does."""
        upright, found = self._find(lines)
        turned = [_UPSIDE_DOWN in label for label, _score in found.cls_res or ()]
        self.share = sum(turned) / len(turned) if turned else 0.0
        return upright, found


def _widened(pixels: Pixels) -> Pixels:
    """A strip with as much of its corner's colour at its right or lower side that it is no longer one."""
    height, width = pixels.shape[:2]
    right, below = max(0, height // _MAX_RATIO - width), max(0, width // _MAX_RATIO - height)
    if not right and not below:
        return pixels
    canvas = np.empty((height + below, width + right, 3), np.uint8)
    canvas[:] = np.median(np.concatenate([pixels[:, -1], pixels[-1]]), axis=0)
    canvas[:height, :width] = pixels
    return canvas


def reading_of(sure: list[ReadLine], lines: list[ReadLine]) -> PictureText:
    """The lines that the engine is sure of, in order, and how much it left out of all lines."""
    blocks = [[TextLine(text=text, box=box) for text, box in block] for block in reading_order(sure)]
    return PictureText(
        blocks=tuple(map(tuple, blocks)),
        confidences=tuple(line.confidence for line in sure),
        unsure=sum(len(line.text) for line in lines) - sum(len(line.text) for line in sure),
    )


def _models() -> dict[str, PackagePath]:
    """The models of the wheel by the step that uses them.

    Raises:
        ConfigError: one is not there.
    """
    shipped = [path for path in files("rapidocr") or () if path.suffix == ".onnx"]
    models = {task: path for task, mark in _TASKS.items() for path in shipped if mark in path.name}
    lacking = [task for task in _TASKS if task not in models or not Path(str(models[task].locate())).is_file()]
    if lacking:
        raise ConfigError(
            f"--ocr rapidocr: rapidocr {version('rapidocr')} as installed lacks its models ({', '.join(lacking)}), and "
            "nothing is fetched from the network; run pip install --force-reinstall 'wdstream[rapidocr]'"
        )
    return models


def _digest(models: dict[str, PackagePath]) -> str:
    """12 hex digits over the digests of the models, as the wheel records them."""
    recorded = [f"{path.name} {path.hash.value if path.hash else path.size}" for path in models.values()]
    return hashlib.sha256("\n".join(sorted(recorded)).encode()).hexdigest()[:12]


def _refuse_download(*_: object) -> NoReturn:
    raise ConfigError("--ocr rapidocr: its package lacks a model, and none is fetched from the network")
