"""How files of stores and web servers are read: a matter of speed and patience, never of what is read."""

from typing import ClassVar

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from wdstream.settings import Settings

SILENCE_S = 20.0
"""Of one try: longer than stores think about an answer, and a third of what a lease may go without a beat."""


class ReadSettings(Settings):
    """`data.reading:` requests to stores and web servers. The defaults were measured, see docs/stores.md."""

    section: ClassVar[str] = "data.reading"

    open_requests: PositiveInt = 64
    """Requests, and connections, that a process has open at once for one folder of shards."""
    max_gap: NonNegativeInt = 1 << 18
    """Bytes between two samples of a tar that are read and thrown away, rather than asking twice."""
    max_request: PositiveInt = 1 << 25
    """Bytes of one request for several samples; a larger column of an index comes in several requests, too."""
    silence_s: PositiveFloat = SILENCE_S
    """Seconds without a connection, or without a byte from the server, after which a request is given up, and sent
    again by a new connection. An answer that comes slowly is not cut off."""
    patience_s: PositiveFloat = 120.0
    """Seconds after which what was asked for, again and again, and has not come is an error; those for which the
    process or its machine was stopped do not count."""
