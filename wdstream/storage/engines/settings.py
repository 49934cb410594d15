"""The options of every command whose work falls into pieces: who does it, and which part of it."""

import re
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import field_validator, model_validator

from wdstream.errors import ConfigError
from wdstream.settings import Settings
from wdstream.storage.engines.part import WorkPart

_RAY = re.compile(r"ray(://.+)?")


class EngineSettings(Settings):
    """Who does the work: processes of this machine, or a Ray cluster."""

    headings: ClassVar[Mapping[str, str]] = {"engine": "Several machines"}

    engine: str = "local"
    """Who does the work: `local`, processes of this machine; `ray`, the Ray cluster that RAY_ADDRESS names, or, without
    it, a Ray of this command's own; `ray://HOST:10001`, the cluster there. The bytes are the same."""

    @field_validator("engine")
    @classmethod
    def _is_engine(cls, text: str) -> str:
        if text != "local" and not _RAY.fullmatch(text):
            raise ValueError(f"engine: expected local, ray or ray://HOST:PORT, found {text!r}")
        return text


LOCAL = EngineSettings()
"""Processes of this machine."""


class ShareSettings(EngineSettings):
    """Who does the work, and which part of it, where tasks of a job array share it."""

    headings: ClassVar[Mapping[str, str]] = {"part": "Several machines"}

    part: str | None = None
    """Do one part of the work, such as 2/60, in a task of a job array of Slurm or Kubernetes. When all parts are done,
    the same command without it does the rest; with --merge, where there is that, it first names what is missing."""

    @field_validator("part")
    @classmethod
    def _is_part(cls, text: str | None) -> str | None:
        return None if text is None else str(WorkPart.parse(text))

    @property
    def own_part(self) -> WorkPart | None:
        """The part of the work that is to be done; None for all of it."""
        return None if self.part is None else WorkPart.parse(self.part)

    def require_part(self, function: str, *, of: str) -> WorkPart:
        """The part that a function of one part is to do, `of` the function that does the whole.

        Raises:
            ConfigError: none is asked for.
        """
        part = self.own_part
        if part is None:
            raise ConfigError(f"part: {function} does one part, such as part='2/60'; {of} does the whole")
        return part


class PartSettings(ShareSettings):
    """The same where the output is only complete when all parts are."""

    headings: ClassVar[Mapping[str, str]] = {"merge": "Several machines"}

    merge: bool = False
    """Complete the output from all parts, or say which are missing."""
    merge_from: tuple[str, ...] = ()
    """A place that a part wrote to, where each has its own; --merge takes it from there. May be repeated."""

    @model_validator(mode="after")
    def _part_or_merge(self) -> Self:
        if self.part is not None and self.merges:
            raise ValueError("part and merge: parts are merged when all are done; give one of them")
        return self

    @property
    def merges(self) -> bool:
        """Whether all is to be there already, done by parts."""
        return self.merge or bool(self.merge_from)


HOW_ONLY = frozenset(PartSettings.model_fields)
"""Names of the options here: none decides any byte."""
