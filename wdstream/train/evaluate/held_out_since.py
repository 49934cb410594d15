"""Whether what is held out now was held out while a run trained: `wdstream split` may have changed it since."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config, DatasetConfig
from wdstream.errors import WdstreamError
from wdstream.runs.record import read_run

_log = logging.getLogger("wdstream")


def warn_of_other_split(run: Path, config: Config) -> None:
    """Say so where held-out pages of training sets are measured, and are not known to be those that the run left out.

    Args:
        run: folder of the run.
        config: what is evaluated.
    """
    folder = read_run(run)
    trained = set(_paths(folder.config.data.train))
    sets = [entry.path for entry in config.data.eval if entry.split == "held_out" and entry.path in trained]
    if not sets or folder.config.data.streaming is not None:
        return
    try:
        now = plan_from_config(folder.config).fingerprints.get("split")
    except WdstreamError as error:
        _log.warning("%s: whether these pages were held out while the run trained is not known: %s", sets[0], error)
        return
    if now != folder.fingerprints.get("split"):
        _log.warning(
            "%s: other pages are held out now than while the run trained (`wdstream split`, or pages were added): it "
            "may have been trained on some of those that are measured",
            ", ".join(sets),
        )


def _paths(entries: Iterable[DatasetConfig]) -> Iterator[str]:
    for entry in entries:
        yield from _paths(entry.datasets)
        yield entry.path
