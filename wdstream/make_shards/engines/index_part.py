"""`index_part`: a share of the tars of a set described, in a task of a job array; `index_folder` does the rest."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from wdstream.make_shards.indexing import tars_to_describe
from wdstream.shards.describe import PLAIN_TAR, TarRules
from wdstream.shards.tar_folder import OnBytes
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import LOCAL, EngineSettings
from wdstream.text.characters import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPartReport:
    """That the tars of a part are described: of which folder, how many there are, and how many were done now."""

    folder: str
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
    out: Path | str | None = None,
    rules: TarRules = PLAIN_TAR,
    workers: int | None = None,
    engine: EngineSettings = LOCAL,
    on_progress: OnBytes | None = None,
) -> IndexPartReport:
    """Describe each tar of a part that is not yet; `index_folder` then finds them described.

    Parts of one set may work at the same time.

    Args:
        shards, out: see `index_folder`; what describes the tars is where the index will be.
        part: whose tars.
        rules, workers, engine, on_progress: see `index_folder`.

    Raises:
        ConfigError: nothing can be written there, or the whole index is being made.
        ShardError: tars cannot serve as shards or are not as they were, naming all.
    """
    with tars_to_describe(shards, out, part, rules=rules, workers=workers, engine=engine, on_progress=on_progress) as (
        of,
        tars,
    ):
        num_shards, num_described = tars.describe_part(part, fetch=lambda names: of.fetch({*names}.__contains__))
    address = shown_url(of.address)
    return IndexPartReport(folder=address, part=part, num_shards=num_shards, num_described=num_described)
