"""Layouts of rows by name: each is a field map; two of them also say how lists of texts and images become one order.

interleaved   texts and images are lists of one length; at every place one of them is null (OBELICS)
matched       texts is a list of sentences, and each image names the sentence before which it is (MMC4). Sentences
              without an image between them are joined by a space

Donut's `ground_truth` is JSON as text: SynthDoG has the text of the page in it; sets of receipts and forms have fields.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from wdstream.errors import RowError

Arrangement = Literal["interleaved", "matched"]
LAYOUTS: Mapping[str, str] = {
    "llava": "image=image|images?,turns=conversations|messages,system=system?",
    "sharegpt": "image=images|image?,turns=conversations|messages,system=system?,tools=tools?",
    "openai": "image=images|image?,turns=messages,tools=tools?",
    "alpaca": "image=images|image?,question=instruction,input=input?,answer=output,system=system?,history=history?",
    "docvqa": "image=image|images,question=question|query,answer=answer|answers",
    "swift": "image=images|image?,question=query,answer=response,system=system?,history=history?",
    "imagefolder": "image=file_name|image,text=text|caption|additional_feature",
    "img2dataset": "image=jpg|png|webp,text=txt|caption|json:caption",
    "captions": "image=image|images|jpg|png|webp,text=caption|text|txt",
    "obelics": "image=images,text=texts,arrange=interleaved",
    "mmc4": "image=image_info,text=text_list,arrange=matched",
    "pdfa": "image=pdf,text=json:pages",
    "idl": "image=tif|pdf,text=json:pages",
    "donut": "image=image|file_name,text=ground_truth:gt_parse.text_sequence",
    "olmocr": "image=image|images?,text=natural_text|response.natural_text|response",
}
"""Field maps by the name of the layout."""
_FOUND_BY: Mapping[str, tuple[str, ...]] = {"obelics": ("texts", "images"), "mmc4": ("text_list", "image_info")}
"""Layouts that no other form of rows reads, by the fields that show them."""
_PARSED, _SEQUENCE, _HEAD = '"gt_parse"', '"text_sequence"', 64
"""How the text of a row of SynthDoG and other sets of Donut is known, and where."""
_IMAGE_KEYS = ("bytes", "image_base64", "base64", "image", "image_name", "image_path", "path", "image_url")
"""Under which an object of MMC4 has its image, the image itself first."""
_INDEX = "matched_text_index"


def layout_of(row: Mapping[str, object]) -> str | None:
    """The name of the layout that only lists, or what is in a text, can show, if a row has one."""
    if "ground_truth" in row and _PARSED in (told := str(row["ground_truth"]))[:_HEAD] and _SEQUENCE in told:
        return "donut"
    for name, fields in _FOUND_BY.items():
        if fields[0] in row and all(isinstance(row.get(field), list | tuple) for field in fields):
            return name
    return None


def arranged(how: Arrangement, texts: object, images: object) -> list[object]:
    """Texts and images as parts of a content, in order.

    Raises:
        RowError: they do not belong together.
    """
    if not isinstance(texts, list | tuple) or not isinstance(images, list | tuple):
        raise RowError(f"texts are {type(texts).__name__}, images {type(images).__name__}; expected two lists")
    return _interleaved(texts, images) if how == "interleaved" else _matched(texts, images)


def about_images(field: str, images: object) -> dict[str, object]:
    """What the objects of images say of them besides, as metadata under the name of their field."""
    infos = [info for info in images if isinstance(info, Mapping)] if isinstance(images, list | tuple) else []
    about = [{str(key): value for key, value in info.items() if key not in _IMAGE_KEYS} for info in infos]
    return {field: about} if any(about) else {}


def _interleaved(texts: Sequence[object], images: Sequence[object]) -> list[object]:
    if len(texts) != len(images):
        raise RowError(f"{len(texts)} texts and {len(images)} images; expected as many places, null in one of the two")
    parts: list[object] = []
    for place, (text, image) in enumerate(zip(texts, images, strict=True)):
        if (text is None) == (image is None):
            found = "neither a text nor an image" if text is None else "both a text and an image"
            raise RowError(f"place {place} has {found}; an image that could not be fetched cannot be left out")
        parts.append(_image(image) if text is None else _text(text, place))
    return parts


def _matched(texts: Sequence[object], images: Sequence[object]) -> list[object]:
    before: dict[int, list[object]] = {}
    for number, info in enumerate(images):
        before.setdefault(_sentence_of(info, number, len(texts)), []).append(_image(_own_image(info, number)))
    parts: list[object] = []
    waiting: list[str] = []
    for place, text in enumerate(texts):
        if place in before:
            parts += [*_joined(waiting), *before[place]]
            waiting = []
        waiting.append(_text(text, place)["text"])
    return [*parts, *_joined(waiting)]


def _sentence_of(info: object, number: int, num_texts: int) -> int:
    place = info.get(_INDEX) if isinstance(info, Mapping) else None
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < num_texts:
        raise RowError(
            f"image {number} has the {_INDEX} {place!r:.40}; expected the number of one of {num_texts} texts"
        )
    return place


def _own_image(info: object, number: int) -> object:
    """The image of an object, which may also name it, and say where it is from."""
    assert isinstance(info, Mapping), "it has the number of a text"
    found = next((info[key] for key in _IMAGE_KEYS if info.get(key) is not None), None)
    if found is None:
        raise RowError(f"image {number} has none of {', '.join(_IMAGE_KEYS)}; fetch it first and name its file")
    return found


def _image(image: object) -> object:
    return {"type": "image", "image": image}


def _text(text: object, place: int) -> dict[str, str]:
    if not isinstance(text, str):
        raise RowError(f"text {place} is {type(text).__name__}, a string expected")
    return {"type": "text", "text": text}


def _joined(sentences: Sequence[str]) -> list[object]:
    return [{"type": "text", "text": " ".join(sentences)}] if sentences else []
