"""Before anything is loaded: do all processes begin alike? One broadcast and one gather of some digests per rank.

    train.output     what the main process wrote there, each rank reads: one folder that all of them see
    configuration    every setting but those that say where things are on a machine, and how it reads them
    model            the files of model.path: sizes, headers and samples of the weights, the rest whole
    data             fingerprints of what decides the stream; a rank that cannot open it says so to all
    evaluation       the same of each set of data.eval
    checkpoint       the manifest of the one to continue from
    code, packages   wdstream's own sources, and versions of what computes

A path of the model, the data or an evaluation set may differ from machine to machine: what is compared is what is found
there. Where digests differ, a second gather says in what, so that the error names rank, machine, and both values.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import getfile
from pathlib import Path
from socket import gethostname

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from wdstream.config.schema import Config
from wdstream.errors import TrainError, WdstreamError
from wdstream.pipeline.planned import Plan
from wdstream.runs.checkpoint import MANIFEST, Checkpoint
from wdstream.runs.record import package_versions
from wdstream.storage.atomic import write_file
from wdstream.storage.tries import Deadline
from wdstream.train.stream import Stream

Facts = Mapping[str, object]
"""What is compared of one thing, by key: a setting, a file, a package."""

MAY_DIFFER = re.compile(
    r"model\.path|train\.(output|stopped_status)|data\.(workers|prefetch|reading|cache|tile_cache)(\..*)?"
    r"|data\.(train|eval)(\.\d+|\.datasets)*\.path"
)
"""Settings that say where things are on a machine, and how it reads them."""
ADVICE = {
    "train.output": "all processes need one folder, which all machines see at the path that they are given: a shared "
    "one, by its absolute path",
    "configuration": "start all processes with the same file and the same --set",
    "model": "copy the same model folder to every machine, or share one",
    "data": "copy the same shards and index to every machine, or share them",
    "evaluation": "copy the same shards and index of the sets of data.eval to every machine, or share them",
    "checkpoint": "train.output has to be one folder that all machines share",
    "code": "install the same version of wdstream on every machine",
    "packages": "install the same versions on every machine",
}
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".gguf")
NONCE = ".start-{}"
"""A file of the output folder, for a moment."""
_OF_MAIN = "the file of rank 0"
_SAMPLES, _SAMPLE_BYTES, _MAX_HEADER = 16, 4096, 1 << 24
_WAIT_S = 10.0
"""A network file system may show a new file some seconds later."""
_NUM_NAMED = 5
"""Keys of one thing, and lines of the whole error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStart:
    """How one process begins.

    Attributes:
        host: its machine.
        digests: of everything that is compared.
        error: why it cannot open the data.
    """

    host: str
    digests: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The data as this process finds them: open, with name and plan of each evaluation set, or why not."""

    stream: Stream | None = None
    eval_plans: tuple[tuple[str, Plan], ...] = ()
    error: WdstreamError | OSError | None = None


def require_same_start(config: Config, accelerator: Accelerator, opened: Opened, start: Checkpoint | None) -> Stream:
    """Compare how all processes begin; all of them call it together. One process alone has nobody to differ from.

    Args:
        config: as this process read it.
        accelerator: the process group.
        opened: the data of this process.
        start: the checkpoint to continue from, which the main process chose.

    Returns:
        The data.

    Raises:
        TrainError: a process begins otherwise than the main one; names its rank, its machine, what differs, and both
            values.
        WdstreamError: this process cannot open the data.
    """
    if accelerator.num_processes > 1:
        facts = {**start_facts(config, opened, start), "train.output": _see_output(config.train.output, accelerator)}
        try:
            _compare(facts, opened, accelerator)
        finally:
            if accelerator.is_main_process:  # all have read it by then
                _remove_nonces(config.train.output)
    if opened.error is not None:
        raise opened.error
    assert opened.stream is not None, "it is open where there is no error"
    return opened.stream


def start_facts(config: Config, opened: Opened, start: Checkpoint | None) -> dict[str, Facts]:
    """What this process finds, without the output folder."""
    return {
        "configuration": {key: value for key, value in _flat(config.model_dump(mode="json")) if _is_compared(key)},
        "model": model_facts(config.model.path),
        "data": {} if opened.stream is None else _data_facts(opened.stream),
        "evaluation": {
            f"fingerprint of {part} of {name}": value
            for name, plan in opened.eval_plans
            for part, value in plan.fingerprints.items()
        },
        "checkpoint": {} if start is None else {start.path.name: _file_digest(start.path / MANIFEST)},
        "code": code_facts(Path(getfile(WdstreamError)).parent),
        "packages": package_versions(),
    }


def model_facts(folder: Path) -> Facts:
    """A digest of each file of a model folder: of weights their size, their beginning (safetensors' header) and some
    samples, since whole ones take minutes; of the rest everything."""
    files = [path for path in sorted(folder.glob("*")) if path.is_file()]
    return {
        path.name: _weights_digest(path) if path.suffix in WEIGHT_SUFFIXES else _file_digest(path) for path in files
    }


def code_facts(folder: Path) -> Facts:
    """A digest of each Python file of a package."""
    return {str(path.relative_to(folder)): _file_digest(path) for path in sorted(folder.rglob("*.py"))}


def _data_facts(stream: Stream) -> Facts:
    sizes = {f"{name}.{key}": value for name, values in stream.data.items() for key, value in values.items()}
    return {**{f"fingerprint of {name}": value for name, value in stream.fingerprints.items()}, **sizes}


def _see_output(output: Path, accelerator: Accelerator) -> Facts:
    """What this process reads of the file that the main one just wrote to the output folder. All call it together."""
    token = [secrets.token_hex(8)]
    if accelerator.is_main_process:
        _remove_nonces(output)
        write_file(output / NONCE.format(token[0]), token[0].encode())
    broadcast_object_list(token)
    path, deadline = output / NONCE.format(token[0]), Deadline(_WAIT_S)
    while not deadline.is_over():
        with suppress(OSError):
            return {_OF_MAIN: path.read_text()}
        time.sleep(0.1)
    return {_OF_MAIN: f"not in {output.absolute()}"}


def _remove_nonces(output: Path) -> None:
    for nonce in output.glob(NONCE.format("*")):
        nonce.unlink(missing_ok=True)


def _compare(facts: Mapping[str, Facts], opened: Opened, accelerator: Accelerator) -> None:
    """Raise TrainError on every rank that could begin, where one begins otherwise or cannot."""
    digests = {name: _digest(json.dumps(found, sort_keys=True, default=str).encode()) for name, found in facts.items()}
    error = "" if opened.error is None else str(opened.error)
    ranks: list[RankStart] = gather_object([RankStart(host=gethostname(), digests=digests, error=error)])
    others = {rank: _differing(ranks[0], found) for rank, found in enumerate(ranks)}
    if not any(others.values()) and not any(found.error for found in ranks):
        return
    names = {name for differing in others.values() for name in differing}
    is_asked = accelerator.is_main_process or bool(others[accelerator.process_index])
    details: list[dict[str, Facts]] = gather_object([{name: facts[name] for name in names} if is_asked else {}])
    if opened.error is None:
        lines = [*_said(ranks, others, details)]
        more = [f"  and {len(lines) - _NUM_NAMED} more"] if len(lines) > _NUM_NAMED else []
        raise TrainError("\n".join(["the processes do not begin alike:", *lines[:_NUM_NAMED], *more]))


def _differing(main: RankStart, other: RankStart) -> list[str]:
    """What is not the same; of data that one of the two cannot open, its error says enough."""
    names = [name for name, digest in main.digests.items() if other.digests[name] != digest]
    return [name for name in names if name not in ("data", "evaluation") or not (main.error or other.error)]


def _said(
    ranks: Sequence[RankStart], others: Mapping[int, Sequence[str]], details: Sequence[Mapping[str, Facts]]
) -> Iterator[str]:
    """A line for each rank and thing."""
    for rank, found in enumerate(ranks):
        who = f"  rank {rank} on {found.host}"
        if found.error:
            yield f"{who} cannot open the data: {found.error}"
        for name in others[rank]:
            ours, theirs = details[0][name], details[rank][name]
            keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
            values = [f"{key} is {theirs.get(key)}, {ours.get(key)} on rank 0" for key in keys[:_NUM_NAMED]]
            more = f" and {len(keys) - _NUM_NAMED} more" if len(keys) > _NUM_NAMED else ""
            yield f"{who}: {name}: {'; '.join(values)}{more} ({ranks[0].host}). {ADVICE[name]}"


def _is_compared(key: str) -> bool:
    return MAY_DIFFER.fullmatch(key) is None


def _flat(tree: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every value of nested settings, by its whole key."""
    if isinstance(tree, Mapping | list) and tree:
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in items:
            yield from _flat(value, f"{prefix}.{key}".removeprefix("."))
    else:
        yield prefix, tree


def _weights_digest(path: Path) -> str:
    """A digest over size, beginning and samples of a file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
        places = [size * number // _SAMPLES for number in range(_SAMPLES)]
        digest = hashlib.sha256(str(size).encode())
        for place, length in ((0, min(header, _MAX_HEADER)), *((place, _SAMPLE_BYTES) for place in places)):
            file.seek(place)
            digest.update(file.read(length))
    return f"{size} bytes, {digest.hexdigest()[:12]}"


def _file_digest(path: Path) -> str:
    try:
        return _digest(path.read_bytes())
    except OSError as error:
        return f"not readable: {error.strerror}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
