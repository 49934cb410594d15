"""The files that hold a checkpoint's weights: which they are, and whether each is there, whole, and no pickle.

One file, or several and an index of what is in which. Headers are read, weights only where two files hold one of the
same name.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from wdstream.errors import FamilyError

WEIGHTS, WEIGHTS_INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json", "*.pt", "*.pth", "consolidated*.bin")
NUM_NAMED = 6
"""Weights or tokens that a message names of many."""


def require_weight_files(path: Path) -> None:
    """Refuse a folder whose weights are missing, cut off, twice there, or in a form that is not read.

    Raises:
        FamilyError: names the file.
    """
    if (path / ADAPTER).is_file():
        raise FamilyError(
            f"{path / ADAPTER}: the folder holds an adapter, which transformers would put over the weights of another "
            "folder; merge it into its base (wdstream model merge ADAPTER OUT) and give that folder"
        )
    files = weight_files(path)
    _require_each_once(files)
    if not files:
        pickles = sorted(found.name for pattern in PICKLES for found in path.glob(pattern))
        if pickles:
            raise FamilyError(
                f"{path / pickles[0]}: weights as a pickle, which is a program and is not run; if you trust it, "
                "convert it once (load it with AutoModelForImageTextToText, save_pretrained writes safetensors)"
            )
        raise FamilyError(f"{path}: no weights there ({WEIGHTS}, or {WEIGHTS_INDEX} and the files it names)")


def weight_files(path: Path) -> list[Path]:
    """The files of a folder's weights: one, or those that its index names, each of which exists.

    Raises:
        FamilyError: the index is damaged, or names files or weights that are not there.
    """
    index = path / WEIGHTS_INDEX
    if (path / WEIGHTS).is_file():
        _refuse_second_set(path)
        return [path / WEIGHTS]
    if not index.is_file():
        return []
    places = _read_index(index)
    shards = sorted(set(places.values()))
    if outside := [shard for shard in shards if Path(shard).name != shard]:
        raise FamilyError(f"{index}: names {outside[0]!r}, which is not a file of this folder")
    if absent := [shard for shard in shards if not _is_file(path / shard)]:
        raise FamilyError(
            f"{index}: names {len(shards)} files, and {some_names(absent)} {'is' if len(absent) == 1 else 'are'} not "
            "there; copy the model again"
        )
    for shard in shards:
        inside = _names_in(path / shard)
        if lacking := sorted(name for name, place in places.items() if place == shard and name not in inside):
            raise FamilyError(
                f"{path / shard}: {WEIGHTS_INDEX} says that it holds {some_names(lacking)}, and it does not; copy the "
                "model again"
            )
    return [path / shard for shard in shards]


def _read_index(index: Path) -> Mapping[str, str]:
    """Which weight is in which file."""
    try:
        tree = json.loads(index.read_bytes())
        dict(tree["metadata"])  # transformers asks for it
        return {name: str(shard) for name, shard in tree["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FamilyError(f"{index}: not an index of weights ({error!r}); copy the file again") from error


def _refuse_second_set(path: Path) -> None:
    """Refuse one file of all weights next to an index and its files: programs differ in which of them they read."""
    index = path / WEIGHTS_INDEX
    if not index.is_file():
        return
    others = {shard for shard in _read_index(index).values() if shard != WEIGHTS and Path(shard).name == shard}
    if present := sorted(shard for shard in others if _is_file(path / shard)):
        raise FamilyError(
            f"{path}: weights twice, in {WEIGHTS} and in {some_names(present)} of {WEIGHTS_INDEX}; programs differ in "
            "which they read, so take one of them out of the folder"
        )


def _is_file(path: Path) -> bool:
    """Whether a file is there; no file has a name with a NUL."""
    try:
        return path.is_file()
    except ValueError:
        return False


def _require_each_once(files: Sequence[Path]) -> None:
    """Refuse two files that hold different weights of one name: which of them is loaded would be chance."""
    homes: dict[str, Path] = {}
    for file in files:
        for name in sorted(_names_in(file)):
            first = homes.setdefault(name, file)
            if first != file and not torch.equal(_weight(first, name), _weight(file, name)):
                raise FamilyError(
                    f"{file}: holds {name}, and {first.name} holds another weight of this name; copy the model again"
                )


def _weight(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, framework="pt") as weights:
        found: torch.Tensor = weights.get_tensor(name)
        return found


def _names_in(file: Path) -> set[str]:
    """Names of the weights in a file; reads its header."""
    file.open("rb").close()  # of one that may not be read, safetensors says that it is not there
    try:
        with safe_open(file, framework="pt") as weights:
            return set(weights.keys())
    except (SafetensorError, OSError, ValueError) as error:
        size = file.stat().st_size
        raise FamilyError(
            f"{file}: not a whole safetensors file ({size:,} bytes; {error}); copy it again, its end may be missing"
        ) from error


def stored_weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights in a folder's files, one in memory at a time."""
    for file in weight_files(path):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  (a file, not a dict)
                yield name, weights.get_tensor(name)


def stored_types(path: Path) -> Iterator[tuple[str, str]]:
    """The type of each weight in a folder's files, as safetensors writes it: F32, BF16, I8, BOOL; reads headers."""
    for file in weight_files(path):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  (a file, not a dict)
                yield name, str(weights.get_slice(name).get_dtype())


def some_names(names: Sequence[str], total: int | None = None) -> str:
    """Up to six names, and how many more there are."""
    left = (len(names) if total is None else total) - min(len(names), NUM_NAMED)
    return ", ".join(names[:NUM_NAMED]) + (f" and {left} more" if left > 0 else "")
