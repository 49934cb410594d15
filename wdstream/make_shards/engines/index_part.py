"""`index_part`: a share of the tars of a folder described, in a task of a job array; `index_folder` does the rest."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from wdstream.errors import ConfigError
from wdstream.make_shards.record import recorded_digests
from wdstream.pixels.header import image_size
from wdstream.shards.describe import PLAIN_TAR, TarRules
from wdstream.shards.index_before import IndexBefore
from wdstream.shards.tar_folder import OnBytes, describe_part
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import EngineSettings
from wdstream.storage.places import local_folder
from wdstream.text.characters import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPartReport:
    """That the tars of a part are described: of which folder, how many there are, and how many were done now."""

    folder: Path
    part: WorkPart
    num_shards: int
    num_described: int

    def print(self, console: Console) -> None:
        """Write it as two lines: what there is, and what follows."""
        lines = [
            f"{self.folder}: part {self.part}: {self.num_described:,} of its {self.num_shards:,} shards described now",
            "when all parts are done, the same command without --part merges the index",
        ]
        for line in lines:
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def index_part(
    shards: Path | str,
    part: WorkPart,
    *,
    rules: TarRules = PLAIN_TAR,
    workers: int | None = None,
    engine: EngineSettings | None = None,
    on_progress: OnBytes | None = None,
) -> IndexPartReport:
    """Describe each tar of a part that is not yet, next to it; `index_folder` then finds them described.

    Parts of one folder may work at the same time.

    Args:
        shards: a folder that holds its tars.
        part: whose tars.
        rules, workers, engine, on_progress: see `index_folder`.

    Raises:
        ConfigError: the tars are not in a folder of this machine.
        ShardError: tars cannot serve as shards or are not as they were, naming all.
    """
    folder = local_folder(shards)
    before = None if folder is None else IndexBefore.read(folder).catalog
    if folder is None or not folder.is_dir() or (before is not None and before.tars):
        raise ConfigError(
            f"part: parts describe tars next to them, in a folder; found {shards}. For tars elsewhere, many machines "
            "share the work with --engine ray"
        )
    num_shards, num_described = describe_part(
        folder,
        image_size,
        rules,
        part,
        workers=workers,
        engine=engine,
        recorded=recorded_digests(folder),
        on_progress=on_progress,
    )
    return IndexPartReport(folder=folder, part=part, num_shards=num_shards, num_described=num_described)
